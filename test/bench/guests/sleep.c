// Waits as many seconds as the query says.

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

int main(void) {
	sleep(atoi(getenv("QUERY_STRING")));
	printf("Content-Type: text/plain\n\nslept\n");
	return 0;
}
