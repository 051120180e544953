// Moves bodies: a POST is read to its end and its length printed, a GET is answered with as many bytes as the query says.

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char buffer[64 << 10];

static int copy(long long left) {
	while (left > 0) {
		ssize_t n = write(1, buffer, left < (long long)sizeof buffer ? left : sizeof buffer);
		if (n <= 0) return 1;
		left -= n;
	}
	return 0;
}

int main(void) {
	printf("Content-Type: application/octet-stream\n\n");
	fflush(stdout);
	if (strcmp(getenv("REQUEST_METHOD"), "POST")) return copy(atoll(getenv("QUERY_STRING")));
	long long sum = 0;
	for (ssize_t n; (n = read(0, buffer, sizeof buffer)) > 0;) sum += n;
	printf("%lld\n", sum);
	return 0;
}
