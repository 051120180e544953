;; A table grown to 4 Gi elements, which are memory of the gateway, by 4096 at a time. The refusal is a trap.
;; want: 500 guest trapped: unreachable
(module
  (table $t 1 externref)
  (func (export "_start")
    (loop $again
      (if (i32.eq (table.grow $t (ref.null extern) (i32.const 0x1000)) (i32.const -1))
        (then (unreachable)))
      (br_if $again (i32.lt_u (table.size $t) (i32.const 0x4000000))))))
