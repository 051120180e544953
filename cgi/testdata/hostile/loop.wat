;; An endless loop.
;; want: 504 guest ran into its timeout
(module
  (func (export "_start") (loop $again (br $again))))
