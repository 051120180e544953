;; Recursion without a loop that is never deep: 2^31 calls.
;; want: 504 guest ran into its timeout
(module
  (func $twice (param $depth i32)
    (if (local.get $depth)
      (then
        (call $twice (i32.sub (local.get $depth) (i32.const 1)))
        (call $twice (i32.sub (local.get $depth) (i32.const 1))))))
  (func (export "_start") (call $twice (i32.const 31))))
