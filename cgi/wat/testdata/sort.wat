;; Sorts numbers with the comparison that a table holds, in flat form.
(module
  (type $order (func (param i32 i32) (result i32)))
  (memory 1)
  (data (i32.const 0) "\05\00\00\00" "\09\00\00\00" "\01\00\00\00" "\07\00\00\00" "\2a\00\00\00" "\03\00\00\00")
  (table $orders funcref (elem $ascending $descending))

  (func $ascending (type $order) local.get 0 local.get 1 i32.lt_s)
  (func $descending (type $order) (param $a i32) (param $b i32) (result i32)
    local.get $a
    local.get $b
    i32.gt_s)

  (func $sort (param $order i32) (param $count i32)
    (local $i i32) (local $j i32) (local $a i32) (local $b i32)
    block $sorted
      loop $outer
        local.get $i
        local.get $count
        i32.ge_u
        br_if $sorted
        local.get $i
        local.set $j
        block $inserted
          loop $sink
            local.get $j
            i32.eqz
            br_if $inserted
            local.get $j
            i32.const 2
            i32.shl
            i32.const 4
            i32.sub
            i32.load
            local.set $a
            local.get $j
            i32.const 2
            i32.shl
            i32.load
            local.tee $b
            local.get $a
            local.get $order
            call_indirect $orders (type $order)
            if $swap
              local.get $j
              i32.const 2
              i32.shl
              local.get $a
              i32.store
              local.get $j
              i32.const 1
              i32.sub
              local.tee $j
              i32.const 2
              i32.shl
              local.get $b
              i32.store
              br $sink
            else $swap
            end $swap
          end $sink
        end $inserted
        local.get $i
        i32.const 1
        i32.add
        local.set $i
        br $outer
      end
    end)

  ;; the largest number is first in descending order
  (func (export "main") (result i32)
    i32.const 1
    i32.const 6
    call $sort
    i32.const 0
    i32.load)
)
