package wat

import (
	"strconv"
	"strings"
	"sync"
)

// Opcodes that the assembler itself writes or looks for.
const (
	opIf          = 0x04
	opElse        = 0x05
	opEnd         = 0x0b
	opTypedSelect = 0x1c
	opI32Const    = 0x41
	opRefFunc     = 0xd2
	prefixAtomic  = 0xfe
)

// immediate is the kind of what follows an instruction's name.
type immediate byte

const (
	none immediate = iota
	block
	tryTable
	elseOrEnd
	label
	labels
	function
	functionType
	callIndirect
	selectType
	local
	global
	tag
	heap
	tableIndex
	tablePair
	tableInit
	elementIndex
	memoryAccess
	memoryLane
	memoryIndex
	memoryPair
	memoryInit
	dataIndex
	i32
	i64
	f32
	f64
	v128
	lane
	lanes16
	fence
)

// opcode is how an instruction is encoded.
type opcode struct {
	prefix    byte // 0 for none
	code      byte
	immediate immediate
	width     byte // of the memory access, in bytes
}

// instructions are runs of consecutive opcodes. A name may carry the width of
// its memory access in bytes after a slash; "_" is an opcode not in use.
var instructions = []struct {
	prefix    byte
	first     byte
	immediate immediate
	names     string
}{
	// Control.
	{0, 0x00, none, "unreachable nop"},
	{0, 0x02, block, "block loop if"},
	{0, 0x05, elseOrEnd, "else"},
	{0, 0x08, tag, "throw"},
	{0, 0x0a, none, "throw_ref"},
	{0, 0x0b, elseOrEnd, "end"},
	{0, 0x0c, label, "br br_if"},
	{0, 0x0e, labels, "br_table"},
	{0, 0x0f, none, "return"},
	{0, 0x10, function, "call"},
	{0, 0x11, callIndirect, "call_indirect"},
	{0, 0x12, function, "return_call"},
	{0, 0x13, callIndirect, "return_call_indirect"},
	{0, 0x14, functionType, "call_ref return_call_ref"},
	{0, 0x1a, none, "drop"},
	{0, 0x1b, selectType, "select"},
	{0, 0x1f, tryTable, "try_table"},

	// References.
	{0, 0xd0, heap, "ref.null"},
	{0, 0xd1, none, "ref.is_null"},
	{0, 0xd2, function, "ref.func"},
	{0, 0xd4, none, "ref.as_non_null"},
	{0, 0xd5, label, "br_on_null br_on_non_null"},

	// Variables.
	{0, 0x20, local, "local.get local.set local.tee"},
	{0, 0x23, global, "global.get global.set"},

	// Tables.
	{0, 0x25, tableIndex, "table.get table.set"},
	{0xfc, 0x0c, tableInit, "table.init"},
	{0xfc, 0x0d, elementIndex, "elem.drop"},
	{0xfc, 0x0e, tablePair, "table.copy"},
	{0xfc, 0x0f, tableIndex, "table.grow table.size table.fill"},

	// Memory.
	{0, 0x28, memoryAccess, "i32.load/4 i64.load/8 f32.load/4 f64.load/8 i32.load8_s/1 i32.load8_u/1 i32.load16_s/2 i32.load16_u/2 " +
		"i64.load8_s/1 i64.load8_u/1 i64.load16_s/2 i64.load16_u/2 i64.load32_s/4 i64.load32_u/4 " +
		"i32.store/4 i64.store/8 f32.store/4 f64.store/8 i32.store8/1 i32.store16/2 i64.store8/1 i64.store16/2 i64.store32/4"},
	{0, 0x3f, memoryIndex, "memory.size memory.grow"},
	{0xfc, 0x08, memoryInit, "memory.init"},
	{0xfc, 0x09, dataIndex, "data.drop"},
	{0xfc, 0x0a, memoryPair, "memory.copy"},
	{0xfc, 0x0b, memoryIndex, "memory.fill"},

	// Numbers.
	{0, 0x41, i32, "i32.const"},
	{0, 0x42, i64, "i64.const"},
	{0, 0x43, f32, "f32.const"},
	{0, 0x44, f64, "f64.const"},
	{0, 0x45, none, "i32.eqz i32.eq i32.ne i32.lt_s i32.lt_u i32.gt_s i32.gt_u i32.le_s i32.le_u i32.ge_s i32.ge_u " +
		"i64.eqz i64.eq i64.ne i64.lt_s i64.lt_u i64.gt_s i64.gt_u i64.le_s i64.le_u i64.ge_s i64.ge_u " +
		"f32.eq f32.ne f32.lt f32.gt f32.le f32.ge f64.eq f64.ne f64.lt f64.gt f64.le f64.ge"},
	{0, 0x67, none, "i32.clz i32.ctz i32.popcnt i32.add i32.sub i32.mul i32.div_s i32.div_u i32.rem_s i32.rem_u " +
		"i32.and i32.or i32.xor i32.shl i32.shr_s i32.shr_u i32.rotl i32.rotr " +
		"i64.clz i64.ctz i64.popcnt i64.add i64.sub i64.mul i64.div_s i64.div_u i64.rem_s i64.rem_u " +
		"i64.and i64.or i64.xor i64.shl i64.shr_s i64.shr_u i64.rotl i64.rotr " +
		"f32.abs f32.neg f32.ceil f32.floor f32.trunc f32.nearest f32.sqrt f32.add f32.sub f32.mul f32.div f32.min f32.max f32.copysign " +
		"f64.abs f64.neg f64.ceil f64.floor f64.trunc f64.nearest f64.sqrt f64.add f64.sub f64.mul f64.div f64.min f64.max f64.copysign"},
	{0, 0xa7, none, "i32.wrap_i64 i32.trunc_f32_s i32.trunc_f32_u i32.trunc_f64_s i32.trunc_f64_u " +
		"i64.extend_i32_s i64.extend_i32_u i64.trunc_f32_s i64.trunc_f32_u i64.trunc_f64_s i64.trunc_f64_u " +
		"f32.convert_i32_s f32.convert_i32_u f32.convert_i64_s f32.convert_i64_u f32.demote_f64 " +
		"f64.convert_i32_s f64.convert_i32_u f64.convert_i64_s f64.convert_i64_u f64.promote_f32 " +
		"i32.reinterpret_f32 i64.reinterpret_f64 f32.reinterpret_i32 f64.reinterpret_i64"},
	{0, 0xc0, none, "i32.extend8_s i32.extend16_s i64.extend8_s i64.extend16_s i64.extend32_s"},
	{0xfc, 0x00, none, "i32.trunc_sat_f32_s i32.trunc_sat_f32_u i32.trunc_sat_f64_s i32.trunc_sat_f64_u " +
		"i64.trunc_sat_f32_s i64.trunc_sat_f32_u i64.trunc_sat_f64_s i64.trunc_sat_f64_u"},

	// Vectors.
	{0xfd, 0x00, memoryAccess, "v128.load/16 v128.load8x8_s/8 v128.load8x8_u/8 v128.load16x4_s/8 v128.load16x4_u/8 v128.load32x2_s/8 v128.load32x2_u/8 " +
		"v128.load8_splat/1 v128.load16_splat/2 v128.load32_splat/4 v128.load64_splat/8 v128.store/16"},
	{0xfd, 0x0c, v128, "v128.const"},
	{0xfd, 0x0d, lanes16, "i8x16.shuffle"},
	{0xfd, 0x0e, none, "i8x16.swizzle i8x16.splat i16x8.splat i32x4.splat i64x2.splat f32x4.splat f64x2.splat"},
	{0xfd, 0x15, lane, "i8x16.extract_lane_s i8x16.extract_lane_u i8x16.replace_lane " +
		"i16x8.extract_lane_s i16x8.extract_lane_u i16x8.replace_lane i32x4.extract_lane i32x4.replace_lane " +
		"i64x2.extract_lane i64x2.replace_lane f32x4.extract_lane f32x4.replace_lane f64x2.extract_lane f64x2.replace_lane"},
	{0xfd, 0x23, none, "i8x16.eq i8x16.ne i8x16.lt_s i8x16.lt_u i8x16.gt_s i8x16.gt_u i8x16.le_s i8x16.le_u i8x16.ge_s i8x16.ge_u " +
		"i16x8.eq i16x8.ne i16x8.lt_s i16x8.lt_u i16x8.gt_s i16x8.gt_u i16x8.le_s i16x8.le_u i16x8.ge_s i16x8.ge_u " +
		"i32x4.eq i32x4.ne i32x4.lt_s i32x4.lt_u i32x4.gt_s i32x4.gt_u i32x4.le_s i32x4.le_u i32x4.ge_s i32x4.ge_u " +
		"f32x4.eq f32x4.ne f32x4.lt f32x4.gt f32x4.le f32x4.ge f64x2.eq f64x2.ne f64x2.lt f64x2.gt f64x2.le f64x2.ge"},
	{0xfd, 0x4d, none, "v128.not v128.and v128.andnot v128.or v128.xor v128.bitselect v128.any_true"},
	{0xfd, 0x54, memoryLane, "v128.load8_lane/1 v128.load16_lane/2 v128.load32_lane/4 v128.load64_lane/8 " +
		"v128.store8_lane/1 v128.store16_lane/2 v128.store32_lane/4 v128.store64_lane/8"},
	{0xfd, 0x5c, memoryAccess, "v128.load32_zero/4 v128.load64_zero/8"},
	{0xfd, 0x5e, none, "f32x4.demote_f64x2_zero f64x2.promote_low_f32x4"},
	{0xfd, 0x60, none, "i8x16.abs i8x16.neg i8x16.popcnt i8x16.all_true i8x16.bitmask i8x16.narrow_i16x8_s i8x16.narrow_i16x8_u " +
		"f32x4.ceil f32x4.floor f32x4.trunc f32x4.nearest i8x16.shl i8x16.shr_s i8x16.shr_u " +
		"i8x16.add i8x16.add_sat_s i8x16.add_sat_u i8x16.sub i8x16.sub_sat_s i8x16.sub_sat_u f64x2.ceil f64x2.floor " +
		"i8x16.min_s i8x16.min_u i8x16.max_s i8x16.max_u f64x2.trunc i8x16.avgr_u " +
		"i16x8.extadd_pairwise_i8x16_s i16x8.extadd_pairwise_i8x16_u i32x4.extadd_pairwise_i16x8_s i32x4.extadd_pairwise_i16x8_u"},
	{0xfd, 0x80, none, "i16x8.abs i16x8.neg i16x8.q15mulr_sat_s i16x8.all_true i16x8.bitmask i16x8.narrow_i32x4_s i16x8.narrow_i32x4_u " +
		"i16x8.extend_low_i8x16_s i16x8.extend_high_i8x16_s i16x8.extend_low_i8x16_u i16x8.extend_high_i8x16_u " +
		"i16x8.shl i16x8.shr_s i16x8.shr_u i16x8.add i16x8.add_sat_s i16x8.add_sat_u i16x8.sub i16x8.sub_sat_s i16x8.sub_sat_u " +
		"f64x2.nearest i16x8.mul i16x8.min_s i16x8.min_u i16x8.max_s i16x8.max_u _ i16x8.avgr_u " +
		"i16x8.extmul_low_i8x16_s i16x8.extmul_high_i8x16_s i16x8.extmul_low_i8x16_u i16x8.extmul_high_i8x16_u"},
	{0xfd, 0xa0, none, "i32x4.abs i32x4.neg _ i32x4.all_true i32x4.bitmask _ _ " +
		"i32x4.extend_low_i16x8_s i32x4.extend_high_i16x8_s i32x4.extend_low_i16x8_u i32x4.extend_high_i16x8_u " +
		"i32x4.shl i32x4.shr_s i32x4.shr_u i32x4.add _ _ i32x4.sub _ _ _ i32x4.mul " +
		"i32x4.min_s i32x4.min_u i32x4.max_s i32x4.max_u i32x4.dot_i16x8_s _ " +
		"i32x4.extmul_low_i16x8_s i32x4.extmul_high_i16x8_s i32x4.extmul_low_i16x8_u i32x4.extmul_high_i16x8_u"},
	{0xfd, 0xc0, none, "i64x2.abs i64x2.neg _ i64x2.all_true i64x2.bitmask _ _ " +
		"i64x2.extend_low_i32x4_s i64x2.extend_high_i32x4_s i64x2.extend_low_i32x4_u i64x2.extend_high_i32x4_u " +
		"i64x2.shl i64x2.shr_s i64x2.shr_u i64x2.add _ _ i64x2.sub _ _ _ i64x2.mul " +
		"i64x2.eq i64x2.ne i64x2.lt_s i64x2.gt_s i64x2.le_s i64x2.ge_s " +
		"i64x2.extmul_low_i32x4_s i64x2.extmul_high_i32x4_s i64x2.extmul_low_i32x4_u i64x2.extmul_high_i32x4_u"},
	{0xfd, 0xe0, none, "f32x4.abs f32x4.neg _ f32x4.sqrt f32x4.add f32x4.sub f32x4.mul f32x4.div f32x4.min f32x4.max f32x4.pmin f32x4.pmax " +
		"f64x2.abs f64x2.neg _ f64x2.sqrt f64x2.add f64x2.sub f64x2.mul f64x2.div f64x2.min f64x2.max f64x2.pmin f64x2.pmax " +
		"i32x4.trunc_sat_f32x4_s i32x4.trunc_sat_f32x4_u f32x4.convert_i32x4_s f32x4.convert_i32x4_u " +
		"i32x4.trunc_sat_f64x2_s_zero i32x4.trunc_sat_f64x2_u_zero f64x2.convert_low_i32x4_s f64x2.convert_low_i32x4_u"},

	// Atomics.
	{prefixAtomic, 0x00, memoryAccess, "memory.atomic.notify/4 memory.atomic.wait32/4 memory.atomic.wait64/8"},
	{prefixAtomic, 0x03, fence, "atomic.fence"},
	{prefixAtomic, 0x10, memoryAccess, "i32.atomic.load/4 i64.atomic.load/8 i32.atomic.load8_u/1 i32.atomic.load16_u/2 " +
		"i64.atomic.load8_u/1 i64.atomic.load16_u/2 i64.atomic.load32_u/4 " +
		"i32.atomic.store/4 i64.atomic.store/8 i32.atomic.store8/1 i32.atomic.store16/2 " +
		"i64.atomic.store8/1 i64.atomic.store16/2 i64.atomic.store32/4"},
	{prefixAtomic, 0x1e, memoryAccess, atomic("add")},
	{prefixAtomic, 0x25, memoryAccess, atomic("sub")},
	{prefixAtomic, 0x2c, memoryAccess, atomic("and")},
	{prefixAtomic, 0x33, memoryAccess, atomic("or")},
	{prefixAtomic, 0x3a, memoryAccess, atomic("xor")},
	{prefixAtomic, 0x41, memoryAccess, atomic("xchg")},
	{prefixAtomic, 0x48, memoryAccess, atomic("cmpxchg")},
}

// atomic returns the names of the seven widths of an operation.
func atomic(operation string) string {
	return strings.ReplaceAll("i32.atomic.rmw.OP/4 i64.atomic.rmw.OP/8 i32.atomic.rmw8.OP_u/1 i32.atomic.rmw16.OP_u/2 "+
		"i64.atomic.rmw8.OP_u/1 i64.atomic.rmw16.OP_u/2 i64.atomic.rmw32.OP_u/4", "OP", operation)
}

// opcodes are the instructions by name, made when the first module comes.
var opcodes = sync.OnceValue(func() map[string]opcode {
	byName := map[string]opcode{}
	for _, run := range instructions {
		for i, name := range strings.Fields(run.names) {
			name, width, _ := strings.Cut(name, "/")
			bytes, _ := strconv.Atoi(width)
			byName[name] = opcode{run.prefix, run.first + byte(i), run.immediate, byte(bytes)}
		}
	}
	delete(byName, "_")
	return byName
})
