;; random_get of 4 GiB, which is refused, then of all the memory there is, without an end.
;; want: 504 guest ran into its timeout
(module
  (import "wasi_snapshot_preview1" "random_get" (func $random_get (param i32 i32) (result i32)))
  (memory (export "memory") 256)
  (func (export "_start")
    (if (i32.ne (call $random_get (i32.const 0) (i32.const -1)) (i32.const 21)) (then (unreachable)))
    (loop $again
      (drop (call $random_get (i32.const 0) (i32.const 0x1000000)))
      (br $again))))
