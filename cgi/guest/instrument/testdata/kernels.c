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

// SHA-256 itself, of 4 KiB.
static const uint32_t round_constants[64] = {
	0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
	0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
	0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
	0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
	0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
	0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
	0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
	0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2};

APART static void sha256_block(uint32_t h[8], const uint8_t *p) {
	uint32_t w[64];
	for (int i = 0; i < 16; i++) w[i] = (uint32_t)p[i * 4] << 24 | p[i * 4 + 1] << 16 | p[i * 4 + 2] << 8 | p[i * 4 + 3];
	for (int i = 16; i < 64; i++)
		w[i] = w[i - 16] + w[i - 7] + (rotate(w[i - 15], 7) ^ rotate(w[i - 15], 18) ^ w[i - 15] >> 3) +
		       (rotate(w[i - 2], 17) ^ rotate(w[i - 2], 19) ^ w[i - 2] >> 10);
	uint32_t a = h[0], b = h[1], c = h[2], d = h[3], e = h[4], f = h[5], g = h[6], k = h[7];
	for (int i = 0; i < 64; i++) {
		uint32_t t = k + (rotate(e, 6) ^ rotate(e, 11) ^ rotate(e, 25)) + ((e & f) ^ (~e & g)) + round_constants[i] + w[i];
		uint32_t s = (rotate(a, 2) ^ rotate(a, 13) ^ rotate(a, 22)) + ((a & b) ^ (a & c) ^ (b & c));
		k = g, g = f, f = e, e = d + t, d = c, c = b, b = a, a = t + s;
	}
	h[0] += a, h[1] += b, h[2] += c, h[3] += d, h[4] += e, h[5] += f, h[6] += g, h[7] += k;
}

uint32_t EXPORT(sha256)(uint32_t n) {
	uint32_t h[8] = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
	for (uint32_t i = 0; i < n * 64; i++) sha256_block(h, bytes + (i * 64 & 0xfff));
	return h[0];
}

static void fill(uint32_t *at, uint32_t count) {
	for (uint32_t i = 0, x = 2463534242; i < count; i++) {
		x ^= x << 13, x ^= x >> 17, x ^= x << 5;
		at[i] = x;
	}
}

// Quicksort, and insertion where few are left.
APART static void quicksort(uint32_t *a, int low, int high) {
	while (high - low > 12) {
		uint32_t pivot = a[low + (high - low) / 2];
		int i = low, j = high;
		while (i <= j) {
			while (a[i] < pivot) i++;
			while (a[j] > pivot) j--;
			if (i > j) break;
			uint32_t t = a[i];
			a[i++] = a[j], a[j--] = t;
		}
		quicksort(a, low, j);
		low = i;
	}
	for (int i = low + 1; i <= high; i++) {
		uint32_t x = a[i];
		int j = i - 1;
		for (; j >= low && a[j] > x; j--) a[j + 1] = a[j];
		a[j + 1] = x;
	}
}

uint32_t EXPORT(sort)(uint32_t n) {
	enum { count = 10000 };
	static uint32_t a[count];
	uint32_t sum = 0;
	for (uint32_t r = 0; r < n; r++) {
		fill(a, count);
		quicksort(a, 0, count - 1);
		sum += a[r % count];
	}
	return sum;
}

// A word in a text, by comparing it everywhere.
APART static const char *find(const char *text, const char *word) {
	for (; *text; text++) {
		const char *t = text, *w = word;
		while (*w && *t == *w) t++, w++;
		if (!*w) return text;
	}
	return 0;
}

uint32_t EXPORT(search)(uint32_t n) {
	static char text[10001];
	for (int i = 0; i < 10000; i++) text[i] = "to be or not to be, that is the question: "[i % 42];
	memcpy(text + 9990, "nobler", 6);
	uint32_t sum = 0;
	for (uint32_t r = 0; r < n; r++) sum += find(text + (r & 7), "nobler") - text;
	return sum;
}

// Numbers and names of a text like JSON.
uint32_t EXPORT(parse)(uint32_t n) {
	static const char text[] = "{\"name\": \"value\", \"numbers\": [1, 22, 333, -4444, 55555], \"nested\": {\"yes\": true, \"no\": null}}";
	uint32_t sum = 0;
	for (uint32_t r = 0; r < n * 10; r++)
		for (const char *p = text; *p;) {
			if (*p == '"') {
				for (p++; *p != '"'; p++) sum = sum * 31 + *p;
				p++;
			} else if (*p >= '0' && *p <= '9') {
				uint32_t number = 0;
				while (*p >= '0' && *p <= '9') number = number * 10 + (*p++ - '0');
				sum += number;
			} else if (*p >= 'a' && *p <= 'z') {
				while (*p >= 'a' && *p <= 'z') p++;
				sum++;
			} else {
				p++;
			}
		}
	return sum;
}

// CRC-32 by a table, of 4 KiB.
uint32_t EXPORT(crc32)(uint32_t n) {
	static uint32_t table[256];
	for (uint32_t i = 0; i < 256; i++) {
		uint32_t c = i;
		for (int k = 0; k < 8; k++) c = c & 1 ? c >> 1 ^ 0xedb88320 : c >> 1;
		table[i] = c;
	}
	uint32_t c = ~0u;
	for (uint32_t r = 0; r < n; r++)
		for (uint32_t i = 0; i < 4096; i++) c = table[(c ^ bytes[i]) & 255] ^ c >> 8;
	return ~c;
}

// Five bodies that attract each other, after the Benchmarks Game.
typedef struct { double x, y, z, vx, vy, vz, mass; } body;

uint32_t EXPORT(nbody)(uint32_t n) {
	body bodies[5] = {{0, 0, 0, 0, 0, 0, 39.47}, {4.84, -1.16, -.10, .60, 2.81, -.02, .037}, {8.34, 4.12, -4.03, -1.01, 1.82, .008, .011},
		{12.89, -15.11, -.22, 1.08, .86, -.01, .0017}, {15.37, -25.9, .179, .979, .594, -.034, .002}};
	for (uint32_t r = 0; r < n * 100; r++) {
		for (int i = 0; i < 5; i++) {
			body *a = &bodies[i];
			for (int j = i + 1; j < 5; j++) {
				body *b = &bodies[j];
				double dx = a->x - b->x, dy = a->y - b->y, dz = a->z - b->z;
				double square = dx * dx + dy * dy + dz * dz, magnitude = .01 / (square * __builtin_sqrt(square));
				a->vx -= dx * b->mass * magnitude, a->vy -= dy * b->mass * magnitude, a->vz -= dz * b->mass * magnitude;
				b->vx += dx * a->mass * magnitude, b->vy += dy * a->mass * magnitude, b->vz += dz * a->mass * magnitude;
			}
		}
		for (int i = 0; i < 5; i++) bodies[i].x += .01 * bodies[i].vx, bodies[i].y += .01 * bodies[i].vy, bodies[i].z += .01 * bodies[i].vz;
	}
	return bodies[0].x * 1e6;
}
