;; wabt is too old for this: a value is thrown, caught, thrown again.
(module
  (tag $number (param i32))
  (tag $nothing)

  (func $throw (param i32)
    (if (local.get 0)
      (then (throw $number (local.get 0)))
      (else (throw $nothing))))

  (func $rethrow (param i32)
    (block $caught (result exnref)
      (try_table (catch_all_ref $caught) (call $throw (local.get 0)))
      (return))
    (throw_ref))

  (func $catch (param i32) (result i32)
    block $none
      block $some (result i32)
        try_table $body (result i32) (catch $number $some) (catch $nothing $none)
          local.get 0
          call $rethrow
          i32.const 1
          br $body
        end $body
      end
      return
    end
    i32.const 2)

  (func (export "main") (result i32)
    (i32.add (call $catch (i32.const 40)) (call $catch (i32.const 0))))
)
