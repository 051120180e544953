package instrument

import "fmt"

func (m *module) readType(e *editor) {
	const group = 0x4e
	members := 1
	if e.more() && e.data[e.at] == group {
		e.byte()
		members = e.count()
	}
	for range members {
		m.readFunctionType(e)
	}
}

func (m *module) readFunctionType(e *editor) {
	if form := e.byte(); form != formFunction {
		e.fail("type %d is of the form %#x, not %#x", len(m.signatures), form, formFunction)
	}
	s := signature{params: uint64(e.count())}
	for range s.params {
		e.valueType()
	}
	s.results = e.count()
	at := e.at
	for range s.results {
		e.valueType()
	}
	if s.params > maxParams || s.results > maxParams {
		e.fail("type %d has %d parameters and %d results, of %d at most", len(m.signatures), s.params, s.results, maxParams)
	}
	switch s.results {
	case 0:
		s.result = []byte{typeEmpty}
	case 1:
		s.result = e.data[at:e.at]
	}
	m.signatures = append(m.signatures, s)
}

func (m *module) readImport(e *editor) {
	from, name, kind := e.name(), e.name(), Kind(e.byte())
	switch kind {
	case Function:
		if t := e.typeIndex(); e.err == nil {
			m.imports = append(m.imports, m.signatures[t])
		}
		m.imported++
	case Table:
		m.readTable(e)
	case Memory:
		m.readMemory(e)
	case Global:
		m.readGlobalType(e)
	case Tag:
		m.readTag(e)
	default:
		e.fail("import %q.%q is of the unknown kind %d", from, name, kind)
		return
	}
	if kind != Function && kind != Tag && m.shared == "" {
		m.shared = fmt.Sprintf("%v %q.%q", kind, from, name)
	}
}

func (m *module) readFunction(e *editor) {
	if t := e.typeIndex(); e.err == nil {
		m.functions = append(m.functions, function{signature: m.signatures[t]})
	}
}

func (m *module) readTable(e *editor) {
	const initialized = 0x40
	t := e.valueType()
	if t == initialized {
		e.zero()
		e.valueType()
	}
	least, _, _ := e.limits()
	m.Elements += uint64(least)
	if t == initialized {
		m.constant(e)
	}
}

func (m *module) readMemory(e *editor) {
	least, most, bounded := e.limits()
	m.memories++
	m.MinPages = least
	if bounded {
		m.MaxPages = most
	}
}

func (e *editor) limits() (least, most uint32, bounded bool) {
	const hasMost, last = 1, 3
	flags := e.byte()
	if flags > last {
		e.fail("limits of the unknown kind %#x", flags)
	}
	least = e.uint()
	if bounded = flags&hasMost != 0; bounded {
		most = e.uint()
	}
	return least, most, bounded
}

func (m *module) readTag(e *editor) {
	e.zero()
	e.typeIndex()
}

func (m *module) readGlobal(e *editor) {
	m.readGlobalType(e)
	m.constant(e)
}

func (m *module) readGlobalType(e *editor) {
	g := global{kind: e.valueType()}
	g.mutable = e.byte() != 0
	if g.mutable {
		m.mutable++
	}
	m.globals = append(m.globals, g)
}

func (m *module) readExport(e *editor) {
	name, kind := e.name(), Kind(e.byte())
	m.exports[name] = true
	switch kind {
	case Function:
		m.function(e)
	case Memory:
		e.uint()
		m.Memory = name
	case Global:
		if i := m.global(e); e.err == nil {
			m.globals[i].name = name
		}
	default:
		e.uint()
	}
}

func (m *module) readStart(e *editor) {
	i := m.function(e)
	if e.err != nil {
		return
	}
	if s := m.signature(i); s.params != 0 || s.results != 0 {
		e.fail("start function %d has parameters or results", i)
	}
	m.start = &i
}

func (m *module) readElement(e *editor) {
	const notActive, explicit, expressions, last = 1, 2, 4, 7
	flags := e.uint()
	if flags > last {
		e.fail("element segment of the unknown kind %#x", flags)
	}
	if flags&notActive == 0 {
		if flags&explicit != 0 {
			e.uint() // table
		}
		m.constant(e)
	}
	if flags&(notActive|explicit) != 0 {
		e.valueType() // of the elements; 0 for functions
	}
	for range e.count() {
		if flags&expressions != 0 {
			m.constant(e)
		} else {
			m.take(m.function(e))
		}
	}
}

func (m *module) readDataCount(e *editor) {
	n := e.uint()
	m.dataCount = &n
}

// readCode only notes where the code is. It is read twice later.
func (m *module) readCode(e *editor) {
	body := e.part(e.uint())
	e.drop()
	if m.codes < len(m.functions) {
		m.functions[m.codes].body = body
	}
	m.codes++
}

func (m *module) readSegment(e *editor) {
	const passive, explicit = 1, 2
	kind := e.uint()
	if kind > explicit {
		e.fail("data segment of the unknown kind %#x", kind)
	}
	s := segment{active: kind != passive}
	if kind == explicit {
		if i := e.uint(); i != 0 {
			e.fail("memory %d, of one at most", i)
		}
	}
	if s.active {
		s.Offset, s.known = m.constant(e)
	}
	s.Bytes = e.bytes(e.uint())
	m.segments = append(m.segments, s)
}

// function copies the index of a function, which the added import shifts. It returns the original index.
func (m *module) function(e *editor) uint32 {
	e.copy(e.at)
	i := e.uint()
	if e.drop(); uint64(i) >= uint64(m.imported)+uint64(len(m.functions)) {
		e.fail("function %d of %d", i, int(m.imported)+len(m.functions))
	}
	e.out = appendUint(e.out, m.shifted(i))
	return i
}

// signature is that of a function, which is there.
func (m *module) signature(function uint32) signature {
	if function < m.imported {
		return m.imports[function]
	}
	return m.functions[function-m.imported].signature
}

func (m *module) shifted(function uint32) uint32 {
	if function >= m.imported {
		function++
	}
	return function
}

// take notes that the address of a function is taken.
func (m *module) take(function uint32) {
	if function >= m.imported {
		m.taken = append(m.taken, function-m.imported)
	}
}

// global reads the index of a global of the original, which must not be the one that is added.
func (m *module) global(e *editor) uint32 {
	i := e.uint()
	if uint64(i) >= uint64(len(m.globals)) {
		e.fail("global %d of %d", i, len(m.globals))
	}
	return i
}

// constant copies a constant expression. It gives the value if that is an i32 computed from constants alone.
func (m *module) constant(e *editor) (value uint32, known bool) {
	var stack []uint32
	known = true
	for e.err == nil {
		at := e.at
		switch op := e.byte(); op {
		case opEnd:
			if !known || len(stack) != 1 {
				return 0, false
			}
			return stack[0], true
		case opI32Const:
			n := e.int(5)
			if n<<30>>30 != int64(int32(n)) {
				e.fail("number overflows 32 bits")
			}
			stack = append(stack, uint32(n))
		case opI32Add, opI32Sub, opI32Mul:
			if len(stack) < 2 {
				known = false
				continue
			}
			y := stack[len(stack)-1]
			stack = stack[:len(stack)-1]
			x := &stack[len(stack)-1]
			switch op {
			case opI32Add:
				*x += y
			case opI32Sub:
				*x -= y
			case opI32Mul:
				*x *= y
			}
		default:
			known = false
			e.at = at
			m.otherConstant(e)
		}
	}
	return 0, false
}

// otherConstant copies an instruction of a constant expression that gives no i32 or none known before the guest runs.
func (m *module) otherConstant(e *editor) {
	switch op := e.byte(); op {
	case opGlobalGet:
		m.global(e)
	case opI64Const:
		e.int(10)
	case opF32Const:
		e.bytes(4)
	case opF64Const:
		e.bytes(8)
	case opRefNull:
		e.refNull()
	case opRefFunc:
		m.take(m.function(e))
	case opI64Add, opI64Sub, opI64Mul:
	case prefixVector:
		if e.byte() != opV128Const&0xff {
			e.fail("vector instruction in a constant expression")
		}
		e.bytes(16)
	default:
		e.fail("instruction %#x in a constant expression", op)
	}
}
