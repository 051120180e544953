;; A header field with a control character in it.
;; want: 500 guest printed a control character
(module
  (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (data (i32.const 0) "\10\00\00\00\2e\00\00\00")
  (data (i32.const 16) "Content-Type: text/plain\0aX-A: b\00Set-Cookie:c\0a\0a")
  (func (export "_start")
    (drop (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))))
