;; A dot product of vectors, and lanes moved about.
(module
  (memory $m 1)
  (data (memory $m) (offset i32.const 16) "\01\00\00\00\02\00\00\00\03\00\00\00\04\00\00\00")

  (func $sum (param $v v128) (result i32)
    (i32.add
      (i32.add (i32x4.extract_lane 0 (local.get $v)) (i32x4.extract_lane 1 (local.get $v)))
      (i32.add (i32x4.extract_lane 2 (local.get $v)) (i32x4.extract_lane 3 (local.get $v)))))

  (func $reverse (param v128) (result v128)
    (i8x16.shuffle 12 13 14 15 8 9 10 11 4 5 6 7 0 1 2 3 (local.get 0) (local.get 0)))

  ;; 4·1 + 3·2 + 2·3 + 1·4 = 20, and 22 more
  (func (export "main") (result i32)
    (local $v v128)
    (local.set $v (v128.load offset=16 align=4 (i32.const 0)))
    (i32.add
      (call $sum (i32x4.mul (local.get $v) (call $reverse (local.get $v))))
      (i32.trunc_sat_f32_s (f32x4.extract_lane 2 (v128.const f32x4 nan -inf 0x1.6p+4 1e3)))))
)
