;; Recursion without an end, each call with many locals.
;; want: 500 guest trapped: stack overflow
(module
  (func $down (param i64 i64 i64 i64) (result i64)
    (local i64 i64 i64 i64 i64 i64 i64 i64 i64 i64 i64 i64)
    (local.set 4 (i64.mul (local.get 0) (local.get 1)))
    (local.set 5 (i64.mul (local.get 1) (local.get 2)))
    (local.set 6 (i64.mul (local.get 2) (local.get 3)))
    (i64.add
      (call $down (local.get 4) (local.get 5) (local.get 6) (local.get 0))
      (i64.add (local.get 4) (i64.add (local.get 5) (local.get 6)))))
  (func (export "_start")
    (drop (call $down (i64.const 1) (i64.const 2) (i64.const 3) (i64.const 4)))))
