;; Computes for some ms: xorshift, with a store and a load in each turn.
(module
  (memory 1)
  (func (export "_start") (local $n i32) (local $x i32)
    (local.set $x (i32.const 2463534242))
    (loop $again
      (local.set $x (i32.xor (local.get $x) (i32.shl (local.get $x) (i32.const 13))))
      (local.set $x (i32.xor (local.get $x) (i32.shr_u (local.get $x) (i32.const 17))))
      (local.set $x (i32.xor (local.get $x) (i32.shl (local.get $x) (i32.const 5))))
      (i32.store (i32.and (local.get $x) (i32.const 0xfffc)) (local.get $n))
      (local.set $x (i32.xor (local.get $x) (i32.load (i32.and (local.get $n) (i32.const 0xfffc)))))
      (local.set $n (i32.add (local.get $n) (i32.const 1)))
      (br_if $again (i32.lt_u (local.get $n) (i32.const 5000000))))))
