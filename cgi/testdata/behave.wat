;; Behaves as the first letter of its first argument says.
(module
  (import "wasi_snapshot_preview1" "args_get" (func $args_get (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_read" (func $fd_read (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 4)
  (data (i32.const 64) "Content-Type: text/plain\0a\0ahello\0a")

  (func $print (param $fd i32) (param $p i32) (param $n i32)
    (i32.store (i32.const 0) (local.get $p))
    (i32.store (i32.const 4) (local.get $n))
    (drop (call $fd_write (local.get $fd) (i32.const 0) (i32.const 1) (i32.const 8))))

  (func $is (param $letter i32) (result i32)
    (i32.eq (i32.load8_u (i32.load (i32.const 1028))) (local.get $letter)))

  (func $spin (loop $again (br $again)))

  (func $flood (param $p i32)
    (loop $again
      (call $print (i32.const 1) (local.get $p) (i32.const 32768))
      (br $again)))

  (func $read
    (loop $next
      (i32.store (i32.const 0) (i32.const 65536))
      (i32.store (i32.const 4) (i32.const 65536))
      (drop (call $fd_read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 8)))
      (br_if $next (i32.load (i32.const 8)))))

  (func $copy
    (loop $next
      (i32.store (i32.const 0) (i32.const 65536))
      (i32.store (i32.const 4) (i32.const 65536))
      (drop (call $fd_read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 8)))
      (if (i32.load (i32.const 8))
        (then
          (call $print (i32.const 1) (i32.const 65536) (i32.load (i32.const 8)))
          (br $next)))))

  (func (export "_start")
    (drop (call $args_get (i32.const 1024) (i32.const 2048)))
    (if (call $is (i32.const 0x73)) (then (call $spin)))  ;; s: spin before the head
    (if (call $is (i32.const 0x68)) (then (call $flood (i32.const 131072))))  ;; h: a head without end
    (if (call $is (i32.const 0x72)) (then (call $read)))  ;; r: read the body before the head
    (if (call $is (i32.const 0x69)) (then (call $read) (call $spin)))  ;; i: read the body, then spin
    (call $print (i32.const 1) (i32.const 64) (i32.const 26))
    (if (call $is (i32.const 0x63)) (then (call $copy) (return)))  ;; c: copy the body
    (call $print (i32.const 1) (i32.const 90) (i32.const 6))
    (if (call $is (i32.const 0x66)) (then (call $spin)))  ;; f: spin after the first line
    (if (call $is (i32.const 0x6f)) (then (call $flood (i32.const 131072))))  ;; o: output without end
    (if (call $is (i32.const 0x6c)) (then (call $print (i32.const 1) (i32.const 131072) (i32.const 65536))))  ;; l: a large response
    (if (call $is (i32.const 0x65)) (then (call $print (i32.const 2) (i32.const 90) (i32.const 5))))  ;; e: print on standard error
    (if (call $is (i32.const 0x74))  ;; t: trap after much output
      (then
        (call $print (i32.const 1) (i32.const 131072) (i32.const 65536))
        (unreachable)))))
