;; logs started and answers slow a second later: the request that is under way while its container is stopped
(module
  (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "poll_oneoff" (func $poll (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (data (i32.const 0) "\10\00\00\00\1f\00\00\00\30\00\00\00\08\00\00\00")
  (data (i32.const 16) "Content-Type: text/plain\n\nslow\n")
  (data (i32.const 48) "started\n")
  (func (export "_start")
    (drop (call $write (i32.const 2) (i32.const 8) (i32.const 1) (i32.const 160)))
    ;; a subscription (at 64) to the monotonic clock: id 1 at 80, nanoseconds at 88
    (i32.store (i32.const 80) (i32.const 1))
    (i64.store (i32.const 88) (i64.const 1000000000))
    (drop (call $poll (i32.const 64) (i32.const 128) (i32.const 1) (i32.const 160)))
    (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 160)))))
