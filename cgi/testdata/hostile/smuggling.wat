;; Framing fields that contradict the body, and in the body a second response. The client gets it as the body.
;; want: 200
(module
  (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (data (i32.const 0) "\10\00\00\00\93\00\00\00")
  (data (i32.const 16) "Content-Type: text/plain\0aContent-Length: 0\0aTransfer-Encoding: chunked\0aConnection: keep-alive\0a\0a0\0d\0a\0d\0aHTTP/1.1 418 I'm a teapot\0d\0aContent-Length: 0\0d\0a\0d\0a")
  (func (export "_start")
    (drop (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))))
