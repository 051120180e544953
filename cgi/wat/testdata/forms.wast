;; One module per form of each declaration. The oracle test assembles every
;; module of this file with wat2wasm as well and compares the bytes.

(module)
(module $named)
(module binary "\00asm" "\01\00\00\00")
(module (; block (; nested ;) comment ;) ;; line comment
  (func))

;; Types
(module (type (func)))
(module (type $t (func (param) (result))))
(module (type (func (param i32 i64) (param f32) (param $x f64) (result i32) (result i64 v128))))
(module (type (func (param funcref externref) (result funcref))))
(module (type $a (func)) (type $b (func)) (func (type $b)) (func (type 0)) (func))
(module (func (param i32)) (func (param i32)) (func (result i32) unreachable) (type $t (func (result i32))))
(module (func (param i64)) (func (type 1)) (type (func)) (func (result f32) unreachable))
(module (type $t (func (param i32) (result i32))) (func (type $t) (param $x i32) (result i32) (local.get $x)))
(module (type $t (func (param i32))) (func (type $t) (local $x i64) (local.set $x (i64.const 1)) (local.set 0 (i32.const 1))))
(module
  (func (param i32) (block (param i64) (result i64 i64) unreachable) (call_indirect (param f32) (i32.const 0)))
  (func (param f64))
  (table 1 funcref))
(module (table 1 funcref) (func (call_indirect (param i32) (call_indirect (result i32) (i32.const 1)) (i32.const 0))))

;; Imports
(module (import "a" "b" (func)))
(module (import "a" "b" (func $f (param $x i32) (param i64) (result f32))))
(module (type $t (func (param i32))) (import "a" "b" (func $f (type $t))) (import "a" "c" (func (type 0) (param i32))))
(module (import "a" "b" (table 1 funcref)) (import "" "" (table $t 1 2 externref)))
(module (import "a" "b" (memory 1)))
(module (import "a" "b" (memory $m 1 2)))
(module (import "a" "b" (memory 1 2 shared)))
(module (import "a" "b" (global i32)) (import "a" "c" (global $g (mut f64))))
(module (import "a" "b" (tag (param i32))) (import "a" "c" (tag $t)))
(module (import "\u{fc}\u{1F600}" "\e2\82\ac" (func)))
(module (func $f (import "a" "b") (param i32)) (func (export "x") (import "c" "d")))
(module (table (import "a" "b") 1 funcref) (memory (export "m") (import "a" "c") 0) (global (import "a" "d") (mut i32)))
(module (tag (export "t") (import "a" "b") (param i64)))

;; Exports
(module (export "f" (func $f)) (export "g" (func 0)) (func $f))
(module (func (export "a") (export "b") (export "") (param i32)) (export "c" (func 0)))
(module (table (export "t") 1 funcref) (memory (export "m") 1) (global (export "g") i32 (i32.const 1)) (tag (export "e")))
(module (table $t 1 funcref) (memory $m 1) (global $g i32 (i32.const 1)) (tag $e)
  (export "t" (table $t)) (export "m" (memory $m)) (export "g" (global $g)) (export "e" (tag $e)))
(module (func (export "\t\n\r\"\'\\\00\7f\u{7f}") nop))

;; Functions and locals
(module (func))
(module (func (local i32)))
(module (func (local i32 i64 i64) (local $a i64) (local) (local $b f32) (local f32 v128 funcref externref)))
(module (func (param $p i32) (local $l i32) (local.set $l (local.get $p)) (local.set 1 (local.get 0))))
(module (func $f (result i32) (call $g)) (func $g (result i32) (call $f)))
(module (func $!#$%&'*+-./:<=>?@\^_`|~azAZ09 (call $!#$%&'*+-./:<=>?@\^_`|~azAZ09)))
(module (func $s) (start $s))
(module (start 1) (func) (func))

;; Tables
(module (table 0 funcref))
(module (table $t 0x1 0xffff_ffff externref))
(module (table funcref (elem)))
(module (table $t funcref (elem $f 1 $f)) (func $f) (func))
(module (table funcref (elem (ref.func 0) (item (ref.func 0)) (item ref.func 0))) (func))
(module (table externref (elem (ref.null extern))))
(module (table 1 funcref) (table $u funcref (elem $f)) (elem $e func $f) (func $f (table.init $u $e (i32.const 0) (i32.const 0) (i32.const 0))))

;; Memories
(module (memory 0))
(module (memory $m 1 65536))
(module (memory 1 1 shared))
(module (memory (data)))
(module (memory (data "abc" "def")))
(module (memory $m (export "m") (data "\00\ff")) (func (memory.init 0 (i32.const 0) (i32.const 0) (i32.const 0))))

(module (memory 1) (memory $n 1) (data (memory $n) (i32.const 0) "a") (data $d "b")
  (func (memory.copy $n 0 (i32.const 0) (i32.const 0) (i32.const 0)) (memory.init $n $d (i32.const 0) (i32.const 0) (i32.const 0))
    (drop (i32.load $n offset=1 align=1 (i32.const 0))) (drop (memory.grow $n (memory.size $n)))))

;; Globals and constant expressions
(module (global i32 (i32.const -1)) (global $g (mut i64) i64.const 5) (global f32 (f32.const 1.5)) (global f64 (f64.const -0)))
(module (global v128 (v128.const i32x4 1 2 3 4)) (global funcref (ref.null func)) (global externref (ref.null extern)))
(module (global funcref (ref.func $f)) (func $f))
(module (global $i (import "a" "b") i32) (global i32 (global.get $i)))
(module (global i32 (i32.add (i32.const 1) (i32.mul (i32.const 2) (i32.sub (i32.const 3) (i32.const 4))))))
(module (global i64 i64.const 1 i64.const 2 i64.add))

;; Element segments
(module (table 1 funcref) (elem (i32.const 0)) (elem (i32.const 0) $f 0) (elem 0 (i32.const 0) $f) (func $f))
(module (table 1 funcref) (elem (offset (i32.const 0)) $f) (elem $e (offset i32.const 0) func $f) (func $f))
(module (table $t 1 funcref) (elem (table $t) (i32.const 0) func $f) (elem (table 0) (offset (i32.const 0)) funcref (ref.func $f)) (func $f))
(module (table 1 funcref) (table $t 1 funcref) (elem (table $t) (i32.const 0) func $f) (elem (table 1) (i32.const 0) funcref (ref.null func)) (func $f))
(module (table 1 funcref) (elem (i32.const 0) funcref (ref.func 0) (item (ref.null func))) (func))
(module (table 1 externref) (elem (i32.const 0) externref (ref.null extern)) (elem (table 0) (i32.const 0) externref))
(module (elem func) (elem func 0 0) (elem $e funcref) (elem funcref (ref.func 0)) (elem funcref (item ref.null func)) (elem externref (ref.null extern)) (func))
(module (elem declare func 0) (elem $e declare func) (elem declare funcref (ref.func 0)) (elem declare funcref (ref.null func)) (func))
(module (global $g (import "a" "b") i32) (table 1 funcref) (elem (global.get $g) 0) (func))
(module (elem funcref (item (global.get 0)) (global.get 0)) (global (import "a" "b") funcref))

;; Data segments
(module (memory 1) (data (i32.const 0)) (data (i32.const 0) "a" "" "b\63\"") (data 0 (i32.const 1) "c"))
(module (memory $m 1) (data (memory $m) (i32.const 0) "a") (data $d (memory 0) (offset (i32.const 0)) "a") (data (offset i32.const 1) "b"))
(module (data) (data "abc") (data $d "def" "\t\n\r\'\u{20ac}"))
(module (memory 1) (data $d "a") (func (data.drop $d) (memory.init $d (i32.const 0) (i32.const 0) (i32.const 0))))
(module (memory 1) (data "ä€😀") (data "\u{0}\u{d7ff}\u{e000}\u{10ffff}"))

;; Blocks, flat
(module (func block end loop end i32.const 0 if end i32.const 0 if else end))
(module (func block $a loop $b br $a br $b br 2 end $b end $a))
(module (func (result i32) i32.const 1 if $l (result i32) i32.const 2 else $l i32.const 3 end $l))
(module (func block $x block $x br $x end br $x end))
(module (func (param i32) (result i32 i32) local.get 0 block (param i32) (result i32 i32) i32.const 1 end))
(module (type $t (func (param i32) (result i32))) (func (param i32) (result i32) local.get 0 loop $l (type $t) end))
(module (type $t (func)) (func block (type $t) end) (func block (type $t) (param) (result) end))
(module (type $t (func (result i64))) (func (result i64) block (type $t) i64.const 0 end))
(module (func block block block i32.const 0 br_table 0 1 2 3 end end end))
(module (func i32.const 0 if nop else nop end i32.const 0 if else nop end))

;; Blocks, folded
(module (func (block) (loop) (if (i32.const 0) (then)) (if (i32.const 0) (then) (else))))
(module (func (block $a (loop $b (br $a) (br_if $b (i32.const 0)) (br 2)))))
(module (func (result i32) (if $l (result i32) (i32.const 1) (then (br $l (i32.const 2))) (else (i32.const 3)))))
(module (func (if (i32.eqz (i32.const 1)) (then nop) (else nop nop))))
(module (func (i32.const 1) (if (i32.eqz) (then nop))))
(module (func (result i32) (block (result i32) i32.const 1 i32.const 2 (i32.add) (i32.mul (i32.const 2)))))
(module (func (block $l (br_table $l 1 $l (i32.const 1)))))
(module (func (drop (block (result i32) (if (i32.const 1) (then (return))) (i32.const 1)))))
(module (func (param i32) (local.get 0) (block (param i32) (drop)) (block (param i32 i32) (result i32) unreachable) drop))
(module (func (loop (block block (nop) end))))
(module (func (drop (select (i32.const 1) (i32.const 2) (i32.const 0))) (drop (select (result i64) (i64.const 1) (i64.const 2) (i32.const 0)))))
(module (func (drop (select (result funcref) (ref.null func) (ref.null func) (i32.const 0)))))

;; Memory arguments
(module (memory 1) (func (drop (i32.load offset=0 (i32.const 0))) (drop (i32.load offset=0xffff_ffff align=1 (i32.const 0))) (drop (i64.load align=2 (i32.const 0)))))
(module (memory 1) (func i32.const 0 f64.const 0 f64.store offset=8 align=4))
(module (memory 1) (func (v128.store offset=1 align=16 (i32.const 0) (v128.load align=1 (i32.const 0)))))
(module (memory 1) (func (drop (v128.load16_lane offset=3 align=1 7 (i32.const 0) (v128.const i64x2 0 0)))))

;; Calls
(module (table $t 1 funcref) (table $u 1 funcref) (type $f (func (param i32)))
  (func (call_indirect (type $f) (i32.const 1) (i32.const 0)) (call_indirect $u (type $f) (param i32) (i32.const 1) (i32.const 0))
    i32.const 0 call_indirect i32.const 0 call_indirect 1 i32.const 1 i32.const 0 call_indirect $t (param i32)))
(module (type $f (func)) (table 1 funcref) (func (return_call 1)) (func (return_call_indirect (type $f) (i32.const 0))))

;; Exceptions
(module (tag) (tag $e (param i32 i64)) (tag (type $t)) (type $t (func (param f32))) (func (throw $e (i32.const 0) (i64.const 0))))
