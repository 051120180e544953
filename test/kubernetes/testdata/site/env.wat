;; answers its environment, one variable a line
(module
  (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "environ_sizes_get" (func $sizes (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "environ_get" (func $environ (param i32 i32) (result i32)))
  (memory (export "memory") 2)
  (data (i32.const 0) "\10\00\00\00\1a\00\00\00")
  (data (i32.const 16) "Content-Type: text/plain\n\n")
  (func (export "_start") (local $i i32) (local $end i32)
    ;; count at 48, size at 52, pointers at 1024, the text itself at 65536
    (drop (call $sizes (i32.const 48) (i32.const 52)))
    (drop (call $environ (i32.const 1024) (i32.const 65536)))
    (local.set $i (i32.const 65536))
    (local.set $end (i32.add (i32.const 65536) (i32.load (i32.const 52))))
    (loop $next
      (if (i32.eqz (i32.load8_u (local.get $i))) (then (i32.store8 (local.get $i) (i32.const 10))))
      (local.set $i (i32.add (local.get $i) (i32.const 1)))
      (br_if $next (i32.lt_u (local.get $i) (local.get $end))))
    (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 56)))
    (i32.store (i32.const 8) (i32.const 65536))
    (i32.store (i32.const 12) (i32.load (i32.const 52)))
    (drop (call $write (i32.const 1) (i32.const 8) (i32.const 1) (i32.const 56)))))
