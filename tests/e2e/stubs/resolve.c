/* The C library's resolver: the IPv4 address of each name. */
#include <arpa/inet.h>
#include <netdb.h>
#include <stdio.h>
#include <sys/socket.h>

int main(int argc, char **argv)
{
	const struct addrinfo hints = { .ai_family = AF_INET, .ai_socktype = SOCK_STREAM };

	for (int i = 1; i < argc; i++) {
		struct addrinfo *found;
		char text[INET_ADDRSTRLEN] = "none";

		if (getaddrinfo(argv[i], NULL, &hints, &found) == 0)
			inet_ntop(AF_INET, &((struct sockaddr_in *)found->ai_addr)->sin_addr, text, sizeof(text));
		printf("%s %s\n", argv[i], text);
	}
	return 0;
}
