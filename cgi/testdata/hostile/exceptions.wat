;; Exceptions thrown and caught without an end: in the engine each costs more than the last.
;; want: 504 guest ran into its timeout
(module
  (tag $e)
  (func $throw (throw $e))
  (func (export "_start")
    (loop $again
      (block $caught
        (try_table (catch_all $caught) (call $throw)))
      (br $again))))
