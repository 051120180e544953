;; Header fields without an end, one byte a call.
;; want: 500 guest printed a head of more than 64 KiB
(module
  (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (data (i32.const 4) "\01\00\00\00")
  (data (i32.const 16) "a:b\0a")
  (func (export "_start")
    (local $i i32)
    (loop $again
      (i32.store (i32.const 0) (i32.add (i32.const 16) (i32.and (local.get $i) (i32.const 3))))
      (drop (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))
      (local.set $i (i32.add (local.get $i) (i32.const 1)))
      (br $again))))
