;; answers the file /data/file of its volume, which in a ConfigMap is a symbolic link
(module
  (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_read" (func $read (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "path_open" (func $open (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (data (i32.const 0) "\10\00\00\00\1a\00\00\00")
  (data (i32.const 16) "Content-Type: text/plain\n\n")
  (data (i32.const 48) "file")
  (func (export "_start")
    (drop (call $open (i32.const 3) (i32.const 1) (i32.const 48) (i32.const 4) (i32.const 0) (i64.const 2) (i64.const 0) (i32.const 0) (i32.const 56)))
    ;; the second buffer: the count of bytes read (at 12) becomes its length
    (i32.store (i32.const 8) (i32.const 1024))
    (i32.store (i32.const 12) (i32.const 1024))
    (drop (call $read (i32.load (i32.const 56)) (i32.const 8) (i32.const 1) (i32.const 12)))
    (drop (call $write (i32.const 1) (i32.const 0) (i32.const 2) (i32.const 60)))))
