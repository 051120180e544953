;; computes until it is stopped
(module
  (memory (export "memory") 1)
  (func (export "_start") (loop $again (br $again))))
