;; Thousands of files opened and kept open. The limit is met, and nothing that is open is closed.
;; want: 200
(module
  (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "path_open" (func $path_open (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (data (i32.const 0) "\10\00\00\00\0d\00\00\00")
  (data (i32.const 16) "Status: 200\0a\0ainside")
  (func (export "_start")
    (local $i i32)
    (loop $again
      (if (call $path_open (i32.const 3) (i32.const 1) (i32.const 29) (i32.const 6) (i32.const 0) (i64.const 2) (i64.const 0) (i32.const 0) (i32.const 64))
        (then (if (i32.lt_u (local.get $i) (i32.const 16)) (then (unreachable))))
        (else (if (i32.gt_u (local.get $i) (i32.const 1024)) (then (unreachable)))))
      (local.set $i (i32.add (local.get $i) (i32.const 1)))
      (br_if $again (i32.lt_u (local.get $i) (i32.const 5000))))
    (drop (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))))
