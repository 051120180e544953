;; Comes to its resume point some calls deep, tells its state and arguments, leaves secrets, and ends as the first letter
;; of its arguments says.
(module
  (import "wagi" "resume" (func $resume))
  (import "wasi_snapshot_preview1" "args_get" (func $args_get (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "args_sizes_get" (func $args_sizes_get (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_close" (func $fd_close (param i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_read" (func $fd_read (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "random_get" (func $random_get (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "proc_exit" (func $proc_exit (param i32)))
  (memory (export "memory") 3)
  (data (i32.const 80) "hello")
  (global $depth (mut i32) (i32.const 0))
  (global $frames (mut i32) (i32.const 0))

  ;; Memory: 0 buffer of a stream, 8 what is printed: the sum of the memory, its size in pages, depth and frames, then the
  ;; arguments; 64 random bytes of before the point, 80 data.

  (func $deep (param $n i32) (result i32)
    (if (i32.eqz (local.get $n)) (then (call $resume) (return (i32.const 0))))
    (global.set $depth (i32.add (global.get $depth) (i32.const 1)))
    (i32.add (call $deep (i32.sub (local.get $n) (i32.const 1))) (i32.const 1)))

  ;; sum is a sum of all bytes and of where they are.
  (func $sum (result i64) (local $at i32) (local $sum i64)
    (loop $next
      (local.set $sum (i64.add (i64.mul (local.get $sum) (i64.const 1099511628211)) (i64.load (local.get $at))))
      (local.set $at (i32.add (local.get $at) (i32.const 8)))
      (br_if $next (i32.lt_u (local.get $at) (i32.mul (memory.size) (i32.const 65536)))))
    (local.get $sum))

  (func $secrets (local $at i32)
    (drop (memory.grow (i32.const 2)))
    (local.set $at (i32.const 256))
    (loop $next
      (i32.store (local.get $at) (i32.const 0x5ec2e7))
      (local.set $at (i32.add (local.get $at) (i32.const 4096)))
      (br_if $next (i32.lt_u (local.get $at) (i32.mul (memory.size) (i32.const 65536)))))
    (global.set $depth (i32.const 0x5ec2e7))
    (global.set $frames (i32.const 0x5ec2e7)))

  (func $recurse (result i32) (i32.add (call $recurse) (i32.const 1)))

  (func $ends_by (param $letter i32) (result i32)
    (i32.eq (i32.load8_u (i32.const 32)) (local.get $letter)))

  (func (export "_start")
    (drop (call $random_get (i32.const 64) (i32.const 8)))
    (global.set $frames (call $deep (i32.const 20)))

    (i64.store (i32.const 8) (call $sum))
    (i32.store (i32.const 16) (memory.size))
    (i32.store (i32.const 20) (global.get $depth))
    (i32.store (i32.const 24) (global.get $frames))
    (drop (call $args_sizes_get (i32.const 100) (i32.const 104)))
    (if (i32.load (i32.const 100)) (then (drop (call $args_get (i32.const 100) (i32.const 32)))))
    (i32.store (i32.const 0) (i32.const 8))
    (i32.store (i32.const 4) (i32.const 28))
    (if (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 112)) (then unreachable))

    (call $secrets)
    (if (call $fd_close (i32.const 2)) (then unreachable))
    (if (call $ends_by (i32.const 0x65)) (then (call $proc_exit (i32.const 3)))) ;; exit
    (if (call $ends_by (i32.const 0x74)) (then unreachable)) ;; trap
    (if (call $ends_by (i32.const 0x6f)) (then (drop (call $recurse)))) ;; overflow
    (if (call $ends_by (i32.const 0x73)) (then (loop $spin (br $spin)))) ;; spin
    (if (call $ends_by (i32.const 0x72)) (then ;; read
      (i32.store (i32.const 0) (i32.const 1024))
      (i32.store (i32.const 4) (i32.const 4))
      (drop (call $fd_read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 112)))))))
