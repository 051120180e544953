;; A CGI script: prints a document response.
(module $hello
  (import "wasi_snapshot_preview1" "fd_write"
    (func $fd_write (param $fd i32) (param $iovs i32) (param $count i32) (param $written i32) (result i32)))
  (memory (export "memory") 1)
  (data $response (offset (i32.const 64)) "Content-Type: text/plain; charset=utf-8\n\n" "hello \u{1f30d}\n")
  (global $length i32 (i32.const 52))

  (func $print (param $at i32) (param $length i32)
    (i32.store (i32.const 0) (local.get $at))
    (i32.store offset=4 (i32.const 0) (local.get $length))
    (if (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8))
      (then (unreachable))))

  (func (export "_start")
    (call $print (i32.const 64) (global.get $length)))
)
