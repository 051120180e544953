;; fd_readdir without an end, from the beginning and from behind the end.
;; want: 504 guest ran into its timeout
(module
  (import "wasi_snapshot_preview1" "fd_readdir" (func $fd_readdir (param i32 i32 i32 i64 i32) (result i32)))
  (memory (export "memory") 1)
  (func (export "_start")
    (loop $again
      (drop (call $fd_readdir (i32.const 3) (i32.const 16) (i32.const 32768) (i64.const 0) (i32.const 0)))
      (drop (call $fd_readdir (i32.const 3) (i32.const 16) (i32.const 32768) (i64.const -1) (i32.const 0)))
      (br $again))))
