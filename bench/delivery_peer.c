/*
 * delivery_peer.c
 *		The fastest possible end of Meta's for bench/delivery.sh: objects named b<number>
 *		whose daily budget is 10000 until somebody writes, and then 11000.
 *
 * One process, keep-alive, no checks: what is measured is the other side. Prints
 * its port; counts requests, told by GET /count.
 */
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define OBJECTS 10000000
#define BUFFER 16384
#define CONNECTIONS 4096

typedef struct Connection
{
	size_t		length;
	char		buffer[BUFFER];
} Connection;

static unsigned char written[OBJECTS / 8];
static Connection *connections[CONNECTIONS];
static unsigned long requests = 0;

/* Answer the request that begins the buffer and is length bytes long. */
static void
answer(int fd, const char *request)
{
	bool		is_post = strncmp(request, "POST", 4) == 0;
	const char *object = strstr(request, "/b");
	unsigned long n = object == NULL ? 0 : strtoul(object + 2, NULL, 10) % OBJECTS;
	char		body[256];
	char		head[512];
	int			length;

	if (strncmp(request, "GET /count", 10) == 0)
		snprintf(body, sizeof(body), "%lu\n", requests);
	else if (is_post)
	{
		written[n / 8] |= 1 << n % 8;
		snprintf(body, sizeof(body), "{\"success\":true}");
	}
	else
		snprintf(body, sizeof(body), "{\"daily_budget\":\"%s\",\"status\":\"ACTIVE\",\"effective_status\":\"ACTIVE\","
				 "\"account_id\":\"1\",\"id\":\"b%lu\"}", written[n / 8] & 1 << n % 8 ? "11000" : "10000", n);
	requests++;
	length = snprintf(head, sizeof(head), "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %zu\r\n\r\n%s",
					  strlen(body), body);
	if (write(fd, head, length) != length)
		shutdown(fd, SHUT_RDWR);
}

/* Answer what is complete in the buffer; false if the other side is gone. */
static bool
serve(int fd, Connection *connection)
{
	ssize_t		got = read(fd, connection->buffer + connection->length, BUFFER - 1 - connection->length);
	char	   *end;

	if (got <= 0)
		return false;
	connection->length += got;
	connection->buffer[connection->length] = '\0';
	while ((end = strstr(connection->buffer, "\r\n\r\n")) != NULL)
	{
		char	   *told = strstr(connection->buffer, "Content-Length: ");
		size_t		size = end + 4 - connection->buffer + (told != NULL && told < end ? strtoul(told + 16, NULL, 10) : 0);

		if (connection->length < size)
			break;
		answer(fd, connection->buffer);
		memmove(connection->buffer, connection->buffer + size, connection->length - size + 1);
		connection->length -= size;
	}
	return connection->length < BUFFER - 1;
}

int
main(void)
{
	struct sockaddr_in address = {.sin_family = AF_INET,.sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t	size = sizeof(address);
	int			listener = socket(AF_INET, SOCK_STREAM, 0);
	int			set = epoll_create1(0);
	struct epoll_event event = {.events = EPOLLIN,.data.fd = listener};

	if (bind(listener, (struct sockaddr *) &address, size) != 0 || listen(listener, 512) != 0 ||
		getsockname(listener, (struct sockaddr *) &address, &size) != 0)
		return 1;
	printf("%d\n", ntohs(address.sin_port));
	fflush(stdout);
	epoll_ctl(set, EPOLL_CTL_ADD, listener, &event);
	for (;;)
	{
		struct epoll_event events[256];
		int			ready = epoll_wait(set, events, 256, -1);

		for (int i = 0; i < ready; i++)
		{
			int			fd = events[i].data.fd;
			int			one = 1;

			if (fd != listener)
			{
				if (!serve(fd, connections[fd]))
					close(fd);
				continue;
			}
			fd = accept(listener, NULL, NULL);
			if (fd < 0 || fd >= CONNECTIONS)
				return 1;
			setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
			if (connections[fd] == NULL)
				connections[fd] = malloc(sizeof(Connection));
			if (connections[fd] == NULL)
				return 1;
			connections[fd]->length = 0;
			event.data.fd = fd;
			epoll_ctl(set, EPOLL_CTL_ADD, fd, &event);
		}
	}
}
