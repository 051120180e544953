;; Sends HTTP requests. The arguments are URL, method, header fields, body and the name of a field.
;; Each export exits with the number of the first error.
(module
  (import "wasi_snapshot_preview1" "args_get" (func $args_get (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "proc_exit" (func $proc_exit (param i32)))
  (import "wasi_experimental_http" "req" (func $req (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32) (result i32)))
  (import "wasi_experimental_http" "body_read" (func $body_read (param i32 i32 i32 i32) (result i32)))
  (import "wasi_experimental_http" "header_get" (func $header_get (param i32 i32 i32 i32 i32 i32) (result i32)))
  (import "wasi_experimental_http" "headers_get_all" (func $headers_get_all (param i32 i32 i32 i32) (result i32)))
  (import "wasi_experimental_http" "close" (func $close (param i32) (result i32)))
  ;; 0 status, 4 handle, 8 length, 16 iovec, 32 digits, 256 pointers to the arguments, 4096 arguments
  (memory (export "memory") 8)
  (global $buffer i32 (i32.const 262144))
  (global $size i32 (i32.const 65536))

  (func $arg (param $i i32) (result i32) (i32.load (i32.add (i32.const 256) (i32.mul (local.get $i) (i32.const 4)))))
  (func $len (param $i i32) (result i32) (local $n i32)
    (loop $next
      (if (i32.load8_u (i32.add (call $arg (local.get $i)) (local.get $n)))
        (then (local.set $n (i32.add (local.get $n) (i32.const 1))) (br $next))))
    (local.get $n))
  (func $print (param $text i32) (param $len i32)
    (i32.store (i32.const 16) (local.get $text))
    (i32.store (i32.const 20) (local.get $len))
    (drop (call $fd_write (i32.const 1) (i32.const 16) (i32.const 1) (i32.const 24))))
  (func $print_number (param $n i32)
    (local $at i32)
    (local.set $at (i32.const 48))
    (i32.store8 (i32.const 48) (i32.const 10))
    (loop $next
      (local.set $at (i32.sub (local.get $at) (i32.const 1)))
      (i32.store8 (local.get $at) (i32.add (i32.const 48) (i32.rem_u (local.get $n) (i32.const 10))))
      (br_if $next (local.tee $n (i32.div_u (local.get $n) (i32.const 10)))))
    (call $print (local.get $at) (i32.sub (i32.const 49) (local.get $at))))
  (func $must (param $error i32)
    (if (local.get $error) (then (call $proc_exit (local.get $error)))))
  (func $send (result i32)
    (drop (call $args_get (i32.const 256) (i32.const 4096)))
    (call $req
      (call $arg (i32.const 0)) (call $len (i32.const 0)) (call $arg (i32.const 1)) (call $len (i32.const 1))
      (call $arg (i32.const 2)) (call $len (i32.const 2)) (call $arg (i32.const 3)) (call $len (i32.const 3))
      (i32.const 0) (i32.const 4)))
  (func $read (result i32)
    (call $must (call $body_read (i32.load (i32.const 4)) (global.get $buffer) (global.get $size) (i32.const 8)))
    (i32.load (i32.const 8)))

  ;; Prints status, header fields and body.
  (func (export "fetch")
    (call $must (call $send))
    (call $print_number (i32.load16_u (i32.const 0)))
    (call $must (call $headers_get_all (i32.load (i32.const 4)) (global.get $buffer) (global.get $size) (i32.const 8)))
    (call $print (global.get $buffer) (i32.load (i32.const 8)))
    (i32.store8 (i32.const 32) (i32.const 10))
    (call $print (i32.const 32) (i32.const 1))
    (loop $next
      (if (call $read) (then (call $print (global.get $buffer) (i32.load (i32.const 8))) (br $next))))
    (call $must (call $close (i32.load (i32.const 4)))))

  ;; Prints a field. The buffer has 16 bytes.
  (func (export "header")
    (call $must (call $send))
    (call $must (call $header_get (i32.load (i32.const 4)) (call $arg (i32.const 4)) (call $len (i32.const 4))
      (global.get $buffer) (i32.const 16) (i32.const 8)))
    (call $print (global.get $buffer) (i32.load (i32.const 8))))

  ;; Prints the length of the body.
  (func (export "drain") (local $n i32)
    (call $must (call $send))
    (loop $next
      (if (call $read) (then (local.set $n (i32.add (local.get $n) (i32.load (i32.const 8)))) (br $next))))
    (call $print_number (local.get $n)))

  ;; Opens responses until that fails, and prints their number.
  (func (export "hoard") (local $n i32) (local $error i32)
    (block $full
      (loop $next
        (br_if $full (local.tee $error (call $send)))
        (local.set $n (i32.add (local.get $n) (i32.const 1)))
        (br $next)))
    (call $print_number (local.get $n))
    (call $must (local.get $error)))

  ;; Leaves responses open in the middle, and ends in one of three ways.
  (func $abandon (export "abandon")
    (call $must (call $send))
    (drop (call $read))
    (call $must (call $send)))
  (func (export "abandon-trap") (call $abandon) unreachable)
  (func (export "abandon-spin") (call $abandon) (loop $again (br $again)))

  ;; Prints the highest handle of a hundred responses, each closed before the next.
  (func (export "reuse") (local $n i32) (local $most i32)
    (loop $next
      (call $must (call $send))
      (loop $rest (br_if $rest (call $read)))
      (if (i32.gt_u (i32.load (i32.const 4)) (local.get $most)) (then (local.set $most (i32.load (i32.const 4)))))
      (call $must (call $close (i32.load (i32.const 4))))
      (br_if $next (i32.lt_u (local.tee $n (i32.add (local.get $n) (i32.const 1))) (i32.const 100))))
    (call $print_number (local.get $most)))

  ;; Exits with the number of the first line whose call gives something else than it must.
  (func $want (param $line i32) (param $want i32) (param $got i32)
    (if (i32.ne (local.get $want) (local.get $got)) (then (call $proc_exit (local.get $line)))))
  (func $req_with (param $url i32) (param $url_len i32) (param $method i32) (param $method_len i32)
      (param $body i32) (param $body_len i32) (param $status i32) (param $handle i32) (result i32)
    (call $req (local.get $url) (local.get $url_len) (local.get $method) (local.get $method_len) (i32.const 0) (i32.const 0)
      (local.get $body) (local.get $body_len) (local.get $status) (local.get $handle)))
  (func (export "misuse") (local $url i32) (local $len i32) (local $get i32)
    (drop (call $args_get (i32.const 256) (i32.const 4096)))
    (local.set $url (call $arg (i32.const 0)))
    (local.set $len (call $len (i32.const 0)))
    (local.set $get (call $arg (i32.const 1)))
    ;; nothing is open
    (call $want (i32.const 1) (i32.const 1) (call $body_read (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0)))
    (call $want (i32.const 2) (i32.const 1) (call $header_get (i32.const -1) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0)))
    (call $want (i32.const 3) (i32.const 1) (call $headers_get_all (i32.const 0x7fffffff) (i32.const 0) (i32.const 0) (i32.const 0)))
    (call $want (i32.const 4) (i32.const 0) (call $close (i32.const 7)))
    ;; what req reads
    (call $want (i32.const 10) (i32.const 4) (call $req_with (i32.const -1) (i32.const 2) (local.get $get) (i32.const 3) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 4)))
    (call $want (i32.const 11) (i32.const 4) (call $req_with (local.get $url) (i32.const -1) (local.get $get) (i32.const 3) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 4)))
    (call $want (i32.const 12) (i32.const 4) (call $req_with (local.get $url) (local.get $len) (i32.const 524288) (i32.const 1) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 4)))
    (call $want (i32.const 13) (i32.const 4) (call $req_with (local.get $url) (local.get $len) (local.get $get) (i32.const 3) (i32.const 1) (i32.const -1) (i32.const 0) (i32.const 4)))
    (call $want (i32.const 14) (i32.const 4) (call $req (local.get $url) (local.get $len) (local.get $get) (i32.const 3) (i32.const 524000) (i32.const 1000)
      (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 4)))
    (call $want (i32.const 15) (i32.const 10) (call $req_with (i32.const 0) (i32.const 0) (local.get $get) (i32.const 3) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 4)))
    (call $want (i32.const 16) (i32.const 10) (call $req_with (i32.const 0) (i32.const 524288) (local.get $get) (i32.const 3) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 4)))
    ;; what req writes
    (call $want (i32.const 20) (i32.const 3) (call $req_with (local.get $url) (local.get $len) (local.get $get) (i32.const 3) (i32.const 0) (i32.const 0) (i32.const 524287) (i32.const 4)))
    (call $want (i32.const 21) (i32.const 3) (call $req_with (local.get $url) (local.get $len) (local.get $get) (i32.const 3) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const -4)))
    ;; with a response, whose handle is 0
    (call $want (i32.const 30) (i32.const 0) (call $req_with (local.get $url) (local.get $len) (local.get $get) (i32.const 3) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 4)))
    (call $want (i32.const 31) (i32.const 0) (i32.load (i32.const 4)))
    (call $want (i32.const 32) (i32.const 3) (call $body_read (i32.const 0) (i32.const 524280) (i32.const 9) (i32.const 8)))
    (call $want (i32.const 33) (i32.const 3) (call $body_read (i32.const 0) (global.get $buffer) (i32.const 1) (i32.const 524285)))
    (call $want (i32.const 34) (i32.const 4) (call $headers_get_all (i32.const 0) (global.get $buffer) (i32.const 1) (i32.const 8)))
    (call $want (i32.const 35) (i32.const 3) (call $headers_get_all (i32.const 0) (i32.const 524287) (i32.const 65536) (i32.const 8)))
    (call $want (i32.const 36) (i32.const 3) (call $headers_get_all (i32.const 0) (global.get $buffer) (i32.const 65536) (i32.const -1)))
    (call $want (i32.const 37) (i32.const 4) (call $header_get (i32.const 0) (i32.const 524287) (i32.const 2) (global.get $buffer) (i32.const 64) (i32.const 8)))
    (call $want (i32.const 38) (i32.const 3) (call $header_get (i32.const 0) (call $arg (i32.const 4)) (call $len (i32.const 4)) (i32.const -1) (i32.const 64) (i32.const 8)))
    (call $want (i32.const 39) (i32.const 0) (call $body_read (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 8)))
    (call $want (i32.const 40) (i32.const 0) (call $close (i32.const 0)))
    (call $want (i32.const 41) (i32.const 1) (call $body_read (i32.const 0) (global.get $buffer) (i32.const 1) (i32.const 8))))
)
