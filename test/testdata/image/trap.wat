;; Traps when it is asked for its routes.
(module
  (func (export "_routes") unreachable)
  (func (export "_start")))
