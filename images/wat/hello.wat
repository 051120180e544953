;; A WAGI program in the WebAssembly text format. The gateway serves it as it
;; is, without a compiler: it prints a header, a blank line and a body.
(module
  (import "wasi_snapshot_preview1" "fd_write"
    (func $fd_write (param $fd i32) (param $iovs i32) (param $count i32) (param $written i32) (result i32)))

  (memory (export "memory") 1)
  ;; The text's address (16) and length (70), then room for fd_write's answer.
  (data (i32.const 0) "\10\00\00\00" "\46\00\00\00")
  (data (i32.const 16)
    "Content-Type: text/plain; charset=utf-8\n"
    "\n"
    "Hello from WebAssembly text!\n")

  (func (export "_start")
    (drop (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))))
