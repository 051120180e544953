;; Memory grown to 4 GiB, page by page, each of them touched; the refusal is ignored.
;; want: 500 guest trapped: out of bounds memory access
(module
  (memory (export "memory") 1)
  (func (export "_start")
    (local $page i32)
    (loop $again
      (drop (memory.grow (i32.const 1)))
      (i32.store (i32.shl (local.get $page) (i32.const 16)) (i32.const 1))
      (local.set $page (i32.add (local.get $page) (i32.const 1)))
      (br_if $again (i32.lt_u (local.get $page) (i32.const 65536))))))
