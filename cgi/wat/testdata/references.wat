;; wabt is too old for this: typed references to functions.
(module
  (type $unary (func (param i32) (result i32)))
  (type $twice (func (param (ref $unary) i32) (result i32)))
  (elem declare func $increment $double)
  (table $functions 2 (ref null $unary))
  (table 1 (ref $unary) (ref.func $double))

  (func $increment (type $unary) (i32.add (local.get 0) (i32.const 1)))
  (func $double (type $unary) (i32.mul (local.get 0) (i32.const 2)))

  (func $twice (type $twice)
    (call_ref $unary (call_ref $unary (local.get 1) (local.get 0)) (local.get 0)))

  (func $call-or (param $f (ref null $unary)) (param $n i32) (result i32)
    (block $null
      (return_call_ref $unary (local.get $n) (br_on_null $null (local.get $f))))
    (i32.const 0))

  (func (export "main") (result i32)
    (table.set $functions (i32.const 1) (ref.func $increment))
    (i32.add
      (call $twice (ref.as_non_null (table.get $functions (i32.const 1))) (i32.const 10))
      (i32.add
        (call $call-or (ref.func $double) (i32.const 15))
        (call $call-or (ref.null $unary) (i32.const 15)))))
)
