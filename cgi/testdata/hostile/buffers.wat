;; One call that reads 1024 buffers of 16 MiB each, all of them the whole memory, and another, and another.
;; want: 504 guest ran into its timeout
(module
  (import "wasi_snapshot_preview1" "fd_filestat_set_size" (func $fd_filestat_set_size (param i32 i64) (result i32)))
  (import "wasi_snapshot_preview1" "fd_pread" (func $fd_pread (param i32 i32 i32 i64 i32) (result i32)))
  (import "wasi_snapshot_preview1" "path_open" (func $path_open (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
  (memory (export "memory") 256)
  (data (i32.const 16) "sparse")
  (func (export "_start")
    (local $p i32)
    (if (call $path_open (i32.const 3) (i32.const 1) (i32.const 16) (i32.const 6) (i32.const 1) (i64.const 0x42) (i64.const 0) (i32.const 0) (i32.const 0))
      (then (unreachable)))
    (if (call $fd_filestat_set_size (i32.load (i32.const 0)) (i64.const 0x400000000)) (then (unreachable)))
    (local.set $p (i32.const 64))
    (loop $next
      (i64.store (local.get $p) (i64.const 0x00ff000000010000))
      (local.set $p (i32.add (local.get $p) (i32.const 8)))
      (br_if $next (i32.lt_u (local.get $p) (i32.const 8256))))
    (loop $again
      (drop (call $fd_pread (i32.load (i32.const 0)) (i32.const 64) (i32.const 1024) (i64.const 0) (i32.const 8)))
      (br $again))))
