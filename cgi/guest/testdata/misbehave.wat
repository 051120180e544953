;; Each export is a guest that ends in another way.
(module
  (import "wasi_snapshot_preview1" "proc_exit" (func $proc_exit (param i32)))
  (import "wasi_snapshot_preview1" "fd_read" (func $fd_read (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "random_get" (func $random_get (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "poll_oneoff" (func $poll_oneoff (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (table 1 funcref)
  (tag $oops)
  (global $state (mut i32) (i32.const 0))
  (type $void (func))

  (func (export "return"))
  (func (export "exit") (param i32) (call $proc_exit (local.get 0)))
  (func (export "exit0") (call $proc_exit (i32.const 0)) unreachable)
  (func (export "exit7") (call $proc_exit (i32.const 7)) unreachable)
  (func (export "exit-1") (call $proc_exit (i32.const -1)) unreachable)
  (func (export "result") (result i32) (i32.const 0))

  (func (export "unreachable") unreachable)
  (func (export "divide") (drop (i32.div_s (i32.const 1) (global.get $state))))
  (func (export "bounds") (drop (i32.load (i32.const 65533))))
  (func (export "table") (call_indirect (type $void) (i32.const 0)))
  (func $recurse (export "recurse") (call $recurse))
  (func (export "throw") (throw $oops))

  (func (export "spin") (loop $again (br $again)))
  ;; A year and more: the clock is monotonic, the time-out relative.
  (func (export "sleep")
    (i32.store8 (i32.const 8) (i32.const 0))
    (i32.store (i32.const 16) (i32.const 1))
    (i64.store (i32.const 24) (i64.const -1))
    (drop (call $poll_oneoff (i32.const 0) (i32.const 64) (i32.const 1) (i32.const 128))))
  ;; Goes on when reading fails.
  (func (export "read")
    (i32.store (i32.const 4) (i32.const 16))
    (loop $again
      (br_if $again (call $fd_read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 8)))
      (br_if $again (i32.load (i32.const 8)))))
  (func (export "write")
    (i32.store (i32.const 4) (i32.const 65536))
    (loop $again
      (drop (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))
      (br $again)))

  ;; The second run must not see what the first one left.
  (func (export "fresh")
    (if (i32.or (global.get $state) (i32.load (i32.const 4096))) (then (call $proc_exit (i32.const 9))))
    (global.set $state (i32.const 1))
    (i32.store (i32.const 4096) (i32.const 1)))

  ;; Exits with the number of pages that the memory can grow to.
  (func (export "grow")
    (loop $again
      (br_if $again (i32.ne (memory.grow (i32.const 1)) (i32.const -1))))
    (call $proc_exit (memory.size)))

  ;; Pointers and lengths that lead out of the memory: each call must fail with FAULT (21) or INVAL (28).
  (func (export "fault")
    (if (i32.ne (call $random_get (i32.const 65530) (i32.const 100)) (i32.const 21)) (then (call $proc_exit (i32.const 1))))
    (if (i32.ne (call $random_get (i32.const -1) (i32.const 2)) (i32.const 21)) (then (call $proc_exit (i32.const 2))))
    (if (i32.ne (call $fd_write (i32.const 1) (i32.const 65532) (i32.const 1) (i32.const 0)) (i32.const 21)) (then (call $proc_exit (i32.const 3))))
    (if (i32.ne (call $fd_write (i32.const 1) (i32.const 0) (i32.const 536870912) (i32.const 0)) (i32.const 28)) (then (call $proc_exit (i32.const 4))))
    (i32.store (i32.const 0) (i32.const 65530))
    (i32.store (i32.const 4) (i32.const 100))
    (if (i32.ne (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)) (i32.const 21)) (then (call $proc_exit (i32.const 5))))
    (i32.store (i32.const 4) (i32.const 1))
    (if (i32.ne (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const -2)) (i32.const 21)) (then (call $proc_exit (i32.const 6))))
    (if (i32.ne (call $poll_oneoff (i32.const 0) (i32.const 0) (i32.const 89478486) (i32.const 0)) (i32.const 28)) (then (call $proc_exit (i32.const 7))))
    (if (i32.ne (call $poll_oneoff (i32.const 65520) (i32.const 0) (i32.const 1) (i32.const 0)) (i32.const 21)) (then (call $proc_exit (i32.const 8)))))
)
