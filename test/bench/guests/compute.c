// The kernels of the rewriter's own benchmarks as a command: compute KERNEL TIMES.

#include <stdio.h>
#include <stdlib.h>
#include "../../../cgi/guest/instrument/testdata/kernels.c"

static const struct {
	const char *name;
	uint32_t (*run)(uint32_t);
} kernels[] = {{"xorshift", xorshift}, {"sha", sha}, {"sha256", sha256}, {"matrix", matrix}, {"sort", sort}, {"search", search},
	{"parse", parse}, {"crc32", crc32}, {"nbody", nbody}, {"interpreter", interpreter}};

int main(int argc, char **argv) {
	for (int i = 0; argc == 3 && i < sizeof kernels / sizeof kernels[0]; i++)
		if (!strcmp(argv[1], kernels[i].name)) return !printf("%u\n", kernels[i].run(atoi(argv[2])));
	return 2;
}
