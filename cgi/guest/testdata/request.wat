;; Opens the request in the directory that it finds open, copies it to standard output, and opens it once more: it is the
;; same.
(module
  (import "wasi_snapshot_preview1" "fd_prestat_dir_name" (func $fd_prestat_dir_name (param i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "path_open" (func $path_open (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_read" (func $fd_read (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (data (i32.const 0) "./request")

  (func $check (param $errno i32)
    (if (local.get $errno) (then unreachable)))

  (func $open (result i32)
    (call $check (call $path_open (i32.const 3) (i32.const 0) (i32.const 0) (i32.const 9) (i32.const 0)
      (i64.const 2) (i64.const 0) (i32.const 0) (i32.const 16)))
    (i32.load (i32.const 16)))

  (func $copy (param $fd i32)
    (i32.store (i32.const 20) (i32.const 1024))
    (i32.store (i32.const 24) (i32.const 32768))
    (call $check (call $fd_read (local.get $fd) (i32.const 20) (i32.const 1) (i32.const 24)))
    (call $check (call $fd_write (i32.const 1) (i32.const 20) (i32.const 1) (i32.const 28))))

  (func (export "_start")
    (call $check (call $fd_prestat_dir_name (i32.const 3) (i32.const 100) (i32.const 9)))
    (call $copy (call $open))
    (call $copy (call $open))))
