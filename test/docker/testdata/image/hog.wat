;; writes on each of 3200 pages of 64 KiB, 200 MiB, and answers full
(module
  (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (data (i32.const 0) "\10\00\00\00\1f\00\00\00")
  (data (i32.const 16) "Content-Type: text/plain\n\nfull\n")
  (func (export "_start") (local $p i32)
    (if (i32.eq (memory.grow (i32.const 3199)) (i32.const -1)) (then (unreachable)))
    (loop $next
      (i32.store (local.tee $p (i32.add (local.get $p) (i32.const 4096))) (i32.const 1))
      (br_if $next (i32.lt_u (local.get $p) (i32.const 209711104))))
    (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))))
