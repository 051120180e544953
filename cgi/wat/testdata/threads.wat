;; Atomic operations on a shared memory.
(module
  (memory 1 1 shared)
  (global $counter i32 (i32.add (i32.const 8) (i32.mul (i32.const 4) (i32.const 2))))

  (func $add (param i32) (result i32)
    (i32.atomic.rmw.add (global.get $counter) (local.get 0)))

  (func $last (param $n i32) (result i32)
    (if (result i32) (i32.eqz (local.get $n))
      (then (i32.atomic.load align=4 (global.get $counter)))
      (else
        (drop (call $add (i32.const 3)))
        (return_call $last (i32.sub (local.get $n) (i32.const 1))))))

  (func (export "main") (result i32)
    (i64.atomic.store (i32.const 64) (i64.const -1))
    (atomic.fence)
    (drop (memory.atomic.notify offset=64 (i32.const 0) (i32.const 1)))
    (call $last (i32.const 14)))
)
