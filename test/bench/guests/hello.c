// The smallest CGI program that looks at all it gets: a guest for the gateway, a native program for the servers that fork.

#include <stdlib.h>
#include <unistd.h>

static const char answer[] = "Content-Type: text/plain\n\nhello\n";

int main(void) {
	char input[4096];
	while (read(0, input, sizeof input) > 0);
	if (!getenv("REQUEST_METHOD")) return 1;
	return write(1, answer, sizeof answer - 1) != sizeof answer - 1;
}
