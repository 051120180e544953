// Small programs whose speed with and without checks is measured. Each takes how often it repeats its work and gives
// a number that depends on all of it. Made into kernels.wasm by Debian's clang-19, lld-19 and wasi-libc:
//
//	clang-19 --target=wasm32-wasi -O2 -mbulk-memory -s -mexec-model=reactor kernels.c -o kernels.wasm

#include <stdint.h>
#include <string.h>

#define EXPORT(name) __attribute__((export_name(#name))) name
#define APART __attribute__((noinline))

static uint8_t bytes[1 << 20];

// A loop of a few instructions.
uint32_t EXPORT(xorshift)(uint32_t n) {
	uint64_t x = 88172645463325252u;
	for (uint32_t i = 0; i < n * 1000; i++) {
		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
	}
	return x;
}

// Nested loops over memory.
uint32_t EXPORT(matrix)(uint32_t n) {
	enum { size = 64 };
	static double a[size][size], b[size][size], c[size][size];
	for (int i = 0; i < size; i++)
		for (int j = 0; j < size; j++) a[i][j] = i + j, b[i][j] = i - j, c[i][j] = 0;
	for (uint32_t r = 0; r < n; r++)
		for (int i = 0; i < size; i++)
			for (int j = 0; j < size; j++) {
				double sum = 0;
				for (int k = 0; k < size; k++) sum += a[i][k] * b[k][j];
				c[i][j] += sum;
			}
	return c[5][7];
}

// Loops that write single bytes.
uint32_t EXPORT(sieve)(uint32_t n) {
	uint32_t primes = 0;
	for (uint32_t r = 0; r < n; r++) {
		memset(bytes, 1, 1 << 16);
		for (uint32_t i = 2; i < 1 << 16; i++) {
			if (!bytes[i]) continue;
			primes++;
			for (uint32_t j = i + i; j < 1 << 16; j += i) bytes[j] = 0;
		}
	}
	return primes;
}

static inline uint32_t rotate(uint32_t x, int n) { return x >> n | x << (32 - n); }

// Like SHA-256: loops with many variables.
uint32_t EXPORT(sha)(uint32_t n) {
	uint32_t h[8] = {1, 2, 3, 4, 5, 6, 7, 8}, w[64];
	for (uint32_t r = 0; r < n; r++) {
		memcpy(w, bytes + (r * 64 & 0xffff), 64);
		for (int i = 16; i < 64; i++)
			w[i] = w[i - 16] + w[i - 7] + (rotate(w[i - 15], 7) ^ rotate(w[i - 15], 18) ^ w[i - 15] >> 3) +
			       (rotate(w[i - 2], 17) ^ rotate(w[i - 2], 19) ^ w[i - 2] >> 10);
		uint32_t a = h[0], b = h[1], c = h[2], d = h[3], e = h[4], f = h[5], g = h[6], k = h[7];
		for (int i = 0; i < 64; i++) {
			uint32_t t = k + (rotate(e, 6) ^ rotate(e, 11) ^ rotate(e, 25)) + ((e & f) ^ (~e & g)) + i * 2654435761u + w[i];
			uint32_t s = (rotate(a, 2) ^ rotate(a, 13) ^ rotate(a, 22)) + ((a & b) ^ (a & c) ^ (b & c));
			k = g, g = f, f = e, e = d + t, d = c, c = b, b = a, a = t + s;
		}
		h[0] += a, h[1] += b, h[2] += c, h[3] += d, h[4] += e, h[5] += f, h[6] += g, h[7] += k;
	}
	return h[0];
}

// Recursion without loops.
APART static uint32_t fibonacci(uint32_t n) { return n < 2 ? n : fibonacci(n - 1) + fibonacci(n - 2); }

uint32_t EXPORT(recursion)(uint32_t n) {
	uint32_t sum = 0;
	for (uint32_t r = 0; r < n; r++) sum += fibonacci(20);
	return sum;
}

// A bytecode interpreter with a switch, and the same with a table of functions. Both run: s = 0; for (i = 0; i < n; i++) s += i.
enum { push, add, less, jump_unless, jump, load, store, halt };

static int32_t program[] = {push, 0, store, 0, push, 0, store, 1, load, 1, push, 0, less, jump_unless, 31,
	load, 0, load, 1, add, store, 0, load, 1, push, 1, add, store, 1, jump, 8, halt};

typedef struct {
	int32_t stack[64], variables[2], *top;
	const int32_t *next;
	int halted;
} machine;

static void prepare(machine *m, uint32_t n) {
	program[11] = n * 1000;
	m->top = m->stack, m->next = program, m->halted = 0;
}

uint32_t EXPORT(interpreter)(uint32_t n) {
	machine m;
	prepare(&m, n);
	int32_t *top = m.top;
	for (const int32_t *next = m.next;;) switch (*next++) {
		case push: *top++ = *next++; break;
		case add: top--, top[-1] += *top; break;
		case less: top--, top[-1] = top[-1] < *top; break;
		case jump_unless: next = *--top ? next + 1 : program + *next; break;
		case jump: next = program + *next; break;
		case load: *top++ = m.variables[*next++]; break;
		case store: m.variables[*next++] = *--top; break;
		case halt: return m.variables[0];
		}
}

APART static void do_push(machine *m) { *m->top++ = *m->next++; }
APART static void do_add(machine *m) { m->top--, m->top[-1] += *m->top; }
APART static void do_less(machine *m) { m->top--, m->top[-1] = m->top[-1] < *m->top; }
APART static void do_jump_unless(machine *m) { m->next = *--m->top ? m->next + 1 : program + *m->next; }
APART static void do_jump(machine *m) { m->next = program + *m->next; }
APART static void do_load(machine *m) { *m->top++ = m->variables[*m->next++]; }
APART static void do_store(machine *m) { m->variables[*m->next++] = *--m->top; }
APART static void do_halt(machine *m) { m->halted = 1; }

static void (*const table[])(machine *) = {do_push, do_add, do_less, do_jump_unless, do_jump, do_load, do_store, do_halt};

uint32_t EXPORT(dispatch)(uint32_t n) {
	static machine m;
	prepare(&m, n);
	while (!m.halted) table[*m.next++](&m);
	return m.variables[0];
}

// Closures that call closures: recursion through a table.
typedef struct node node;
struct node {
	int32_t (*evaluate)(const node *, const int32_t *);
	const node *left, *right;
	int32_t constant;
};

static int32_t evaluate(const node *n, const int32_t *variables) { return n->evaluate(n, variables); }
static int32_t constant(const node *n, const int32_t *variables) { return n->constant; }
static int32_t variable(const node *n, const int32_t *variables) { return variables[n->constant]; }
static int32_t sum(const node *n, const int32_t *variables) { return evaluate(n->left, variables) + evaluate(n->right, variables); }
static int32_t product(const node *n, const int32_t *variables) { return evaluate(n->left, variables) * evaluate(n->right, variables); }

uint32_t EXPORT(closures)(uint32_t n) {
	static const node x = {variable, 0, 0, 0}, y = {variable, 0, 0, 1}, seven = {constant, 0, 0, 7};
	static const node a = {sum, &x, &seven, 0}, b = {product, &a, &y, 0}, c = {sum, &b, &x, 0}, root = {sum, &c, &a, 0};
	int32_t variables[2] = {0, 2};
	for (uint32_t i = 0; i < n * 100; i++) variables[0] = i, variables[1] += root.evaluate(&root, variables);
	return variables[1];
}

// Many short loops in many calls.
APART static uint32_t length(const char *s) {
	uint32_t n = 0;
	while (s[n]) n++;
	return n;
}

uint32_t EXPORT(lengths)(uint32_t n) {
	static const char *const words[] = {"a", "be", "sea", "dear", "eager"};
	uint32_t sum = 0;
	for (uint32_t i = 0; i < n * 100; i++) sum += length(words[i % 5]);
	return sum;
}

// Many short copies.
uint32_t EXPORT(copies)(uint32_t n) {
	uint32_t sum = 0;
	for (uint32_t i = 0; i < n * 100; i++) {
		memcpy(bytes + (i * 64 & 0xffff), bytes + 0x20000 + (i * 32 & 0xffff), (i & 31) + 1);
		sum += bytes[i & 0xffff];
	}
	return sum;
}
