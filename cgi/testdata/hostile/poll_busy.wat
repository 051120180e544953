;; poll_oneoff on 4096 descriptors, which are ready at once, without an end.
;; want: 504 guest ran into its timeout
(module
  (import "wasi_snapshot_preview1" "poll_oneoff" (func $poll_oneoff (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 6)
  (func (export "_start")
    (local $p i32)
    (loop $next
      (i32.store8 offset=8 (local.get $p) (i32.const 1))
      (local.set $p (i32.add (local.get $p) (i32.const 48)))
      (br_if $next (i32.lt_u (local.get $p) (i32.const 196608))))
    (loop $again
      (drop (call $poll_oneoff (i32.const 0) (i32.const 196608) (i32.const 4096) (i32.const 393212)))
      (br $again))))
