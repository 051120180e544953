;; Names of files that are 4 GiB long, as long as the memory, of a million parts.
;; want: 200
(module
  (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "path_create_directory" (func $path_create_directory (param i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "path_open" (func $path_open (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "path_symlink" (func $path_symlink (param i32 i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 256)
  (data (i32.const 0) "\10\00\00\00\0d\00\00\00")
  (data (i32.const 16) "Status: 200\0a\0alink")
  (func $open (param $size i32) (result i32)
    (call $path_open (i32.const 3) (i32.const 1) (i32.const 64) (local.get $size) (i32.const 1) (i64.const 2) (i64.const 0) (i32.const 0) (i32.const 32)))
  (func $refused (param $errno i32)
    (if (i32.eqz (local.get $errno)) (then (unreachable))))
  (func $fill (param $word i32)
    (local $p i32)
    (local.set $p (i32.const 64))
    (loop $next
      (i32.store (local.get $p) (local.get $word))
      (local.set $p (i32.add (local.get $p) (i32.const 4)))
      (br_if $next (i32.lt_u (local.get $p) (i32.const 0x100000)))))
  (func (export "_start")
    (call $refused (call $open (i32.const -1)))
    (call $fill (i32.const 0x61616161))  ;; aaaa
    (call $refused (call $open (i32.const 0xfffc0)))
    (call $refused (call $path_create_directory (i32.const 3) (i32.const 64) (i32.const 0xfffc0)))
    (call $refused (call $path_symlink (i32.const 64) (i32.const 0xfffc0) (i32.const 3) (i32.const 29) (i32.const 4)))
    (call $fill (i32.const 0x2f2e2f2e))  ;; ././
    (call $refused (call $open (i32.const 0xfffc0)))
    (call $fill (i32.const 0x2f2e2e2f))  ;; /../, behind the first slash
    (i32.store8 (i32.const 64) (i32.const 0x61))
    (call $refused (call $open (i32.const 0xfffc0)))
    (drop (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))))
