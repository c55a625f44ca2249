/* SPDX-License-Identifier: Apache-2.0 */
#include "transport/net.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/assert.h"

enum { BACKLOG = 4096 }; /* the kernel lowers it to net.core.somaxconn */

static const char unix_prefix[] = "unix:";

static enum status parse_unix(const char *path, struct net_address *out,
                              char error[static IO_ERROR_SIZE])
{
	size_t size = strlen(path);

	if (size == 0 || size >= sizeof(out->local.sun_path)) {
		snprintf(error, IO_ERROR_SIZE, "the path of a unix socket has 1 to %zu bytes",
		         sizeof(out->local.sun_path) - 1);
		return STATUS_INVALID;
	}
	out->local.sun_family = AF_UNIX;
	memcpy(out->local.sun_path, path, size + 1);
	out->size = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + size + 1);
	return STATUS_OK;
}

/* The digits after the last colon; false: none, or not a port. */
static bool parse_port(const char *digits, in_port_t *port)
{
	unsigned value = 0;

	if (*digits == '\0')
		return false;
	for (; *digits != '\0'; digits++) {
		if (*digits < '0' || *digits > '9')
			return false;
		value = value * 10 + (unsigned)(*digits - '0');
		if (value > 65535)
			return false;
	}
	*port = htons((uint16_t)value);
	return true;
}

static bool parse_host(const char *host, in_port_t port, struct net_address *out)
{
	if (strcmp(host, "*") == 0 || (host[0] == '[' && host[strlen(host) - 1] == ']')) {
		char text[INET6_ADDRSTRLEN + 2];

		out->v6.sin6_family = AF_INET6;
		out->v6.sin6_port = port;
		out->v6.sin6_addr = in6addr_any;
		out->size = sizeof(out->v6);
		if (host[0] == '*')
			return true;
		snprintf(text, sizeof(text), "%s", host + 1);
		text[strcspn(text, "]")] = '\0';
		return inet_pton(AF_INET6, text, &out->v6.sin6_addr) == 1;
	}
	out->v4.sin_family = AF_INET;
	out->v4.sin_port = port;
	out->size = sizeof(out->v4);
	if (strcmp(host, "localhost") == 0)
		host = "127.0.0.1";
	return inet_pton(AF_INET, host, &out->v4.sin_addr) == 1;
}

enum status net_parse(const char *text, struct net_address *out, char error[static IO_ERROR_SIZE])
{
	const char *colon = strrchr(text, ':');
	char host[INET6_ADDRSTRLEN + 2];
	in_port_t port;

	memset(out, 0, sizeof(*out));
	if (strncmp(text, unix_prefix, sizeof(unix_prefix) - 1) == 0)
		return parse_unix(text + sizeof(unix_prefix) - 1, out, error);
	if (colon != NULL && colon != text && (size_t)(colon - text) < sizeof(host) &&
	    parse_port(colon + 1, &port)) {
		memcpy(host, text, (size_t)(colon - text));
		host[colon - text] = '\0';
		if (parse_host(host, port, out))
			return STATUS_OK;
	}
	snprintf(error, IO_ERROR_SIZE,
	         "\"%.100s\" is no address: want 127.0.0.1:PORT, [::1]:PORT, *:PORT or unix:PATH",
	         text);
	return STATUS_INVALID;
}

void net_format(const struct net_address *address, char *text, size_t size)
{
	char host[INET6_ADDRSTRLEN] = "?";
	int port = 0;

	switch (address->any.sa_family) {
	case AF_UNIX:
		snprintf(text, size, "%s%s", unix_prefix,
		         address->size > offsetof(struct sockaddr_un, sun_path)
		                 ? address->local.sun_path
		                 : "");
		return;
	case AF_INET:
		inet_ntop(AF_INET, &address->v4.sin_addr, host, sizeof(host));
		port = ntohs(address->v4.sin_port);
		break;
	case AF_INET6:
		port = ntohs(address->v6.sin6_port);
		if (IN6_IS_ADDR_V4MAPPED(&address->v6.sin6_addr)) {
			inet_ntop(AF_INET, &address->v6.sin6_addr.s6_addr[12], host, sizeof(host));
			break;
		}
		inet_ntop(AF_INET6, &address->v6.sin6_addr, host, sizeof(host));
		snprintf(text, size, "[%s]:%d", host, port);
		return;
	default:
		break;
	}
	snprintf(text, size, "%s:%d", host, port);
}

static enum status fail(const char *what, const char *address, char error[static IO_ERROR_SIZE])
{
	int err = errno;
	enum status status = status_from_errno(err);

	if (err == EADDRINUSE)
		status = STATUS_EXISTS;
	else if (err == EADDRNOTAVAIL || err == EAFNOSUPPORT)
		status = STATUS_UNAVAILABLE;
	else if (err == EMFILE || err == ENFILE || err == ENOMEM || err == ENOBUFS)
		status = STATUS_NO_SPACE;
	snprintf(error, IO_ERROR_SIZE, "%s %.120s: %s", what, address, strerror(err));
	return status;
}

static void set_option(int fd, int level, int name)
{
	int one = 1;

	/* Best effort: what matters shows when the socket is bound. */
	if (setsockopt(fd, level, name, &one, sizeof(one)) != 0)
		return;
}

static int open_socket(const struct net_address *address)
{
	return socket(address->any.sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
}

/* Whether a server answers at a unix socket whose name is taken. */
static bool unix_is_alive(const struct net_address *address)
{
	int fd = open_socket(address);
	bool alive = true;

	if (fd >= 0) {
		alive = connect(fd, &address->any, address->size) == 0 || errno != ECONNREFUSED;
		close(fd);
	}
	return alive;
}

static bool unix_is_stale(const struct net_address *address)
{
	struct stat st;

	return lstat(address->local.sun_path, &st) == 0 && S_ISSOCK(st.st_mode) &&
	       !unix_is_alive(address);
}

static int bind_socket(int fd, const struct net_address *address)
{
	if (bind(fd, &address->any, address->size) == 0)
		return 0;
	if (errno != EADDRINUSE || address->any.sa_family != AF_UNIX)
		return -1;
	if (!unix_is_stale(address)) {
		errno = EADDRINUSE;
		return -1;
	}
	if (unlink(address->local.sun_path) != 0)
		return -1;
	return bind(fd, &address->any, address->size);
}

/* SO_REUSEPORT lets another server of this user share a port unseen, so look before. */
static int probe_alone(const struct net_address *address)
{
	int fd = open_socket(address), r;

	if (fd < 0)
		return -1;
	set_option(fd, SOL_SOCKET, SO_REUSEADDR);
	r = bind(fd, &address->any, address->size);
	if (r == 0)
		r = listen(fd, 1); /* SO_REUSEADDR alone would let two bind, but not listen */
	if (r != 0) {
		int err = errno;

		close(fd);
		errno = err;
		return -1;
	}
	return close(fd);
}

static int prepare(int fd, const struct net_address *address, enum io_share share)
{
	if (address->any.sa_family != AF_UNIX) {
		set_option(fd, SOL_SOCKET, SO_REUSEADDR);
		set_option(fd, IPPROTO_TCP, TCP_NODELAY); /* what it accepts inherits it */
		if (share != IO_SHARE_NONE)
			set_option(fd, SOL_SOCKET, SO_REUSEPORT);
		if (share == IO_SHARE_FIRST && probe_alone(address) != 0)
			return -1;
	}
	if (bind_socket(fd, address) != 0)
		return -1;
	return listen(fd, BACKLOG);
}

enum status net_listen(const struct io_listen_options *options, int *out, char bound[NET_TEXT_SIZE],
                       char error[static IO_ERROR_SIZE])
{
	struct net_address address;
	enum status status = net_parse(options->address, &address, error);
	int fd;

	if (status != STATUS_OK)
		return status;
	fd = open_socket(&address);
	if (fd < 0)
		return fail("socket for", options->address, error);
	if (prepare(fd, &address, options->share) != 0) {
		status = fail("listen at", options->address, error);
		close(fd);
		return status;
	}
	if (address.any.sa_family != AF_UNIX) {
		address.size = sizeof(address.v6);
		if (getsockname(fd, &address.any, &address.size) != 0) {
			status = fail("name of", options->address, error);
			close(fd);
			return status;
		}
	}
	net_format(&address, bound, NET_TEXT_SIZE);
	*out = fd;
	return STATUS_OK;
}

void net_unlisten(int fd, const char *bound)
{
	struct net_address address;
	char error[IO_ERROR_SIZE];

	/* Refuses from here on, so a server that has taken the name since tells itself apart. */
	if (shutdown(fd, SHUT_RDWR) != 0)
		return;
	if (net_parse(bound, &address, error) != STATUS_OK || address.any.sa_family != AF_UNIX)
		return;
	if (unix_is_stale(&address))
		unlink(address.local.sun_path);
}

enum status net_socket(const struct net_address *address, int *out,
                       char error[static IO_ERROR_SIZE])
{
	int fd = open_socket(address);

	if (fd < 0)
		return fail("socket to", "connect", error);
	if (address->any.sa_family != AF_UNIX)
		set_option(fd, IPPROTO_TCP, TCP_NODELAY);
	*out = fd;
	return STATUS_OK;
}

void net_set_blocking(int fd)
{
	int flags = fcntl(fd, F_GETFL);

	assert(flags >= 0);
	flags = fcntl(fd, F_SETFL, flags & ~O_NONBLOCK);
	assert(flags >= 0);
}

static bool is_loopback(const struct net_address *address)
{
	const struct in6_addr *v6 = &address->v6.sin6_addr;

	if (address->any.sa_family == AF_INET)
		return ntohl(address->v4.sin_addr.s_addr) >> 24 == 127;
	if (address->any.sa_family != AF_INET6)
		return false;
	return IN6_IS_ADDR_LOOPBACK(v6) || (IN6_IS_ADDR_V4MAPPED(v6) && v6->s6_addr[12] == 127);
}

void net_describe(struct stream *stream, const struct net_address *peer)
{
	char text[NET_TEXT_SIZE];

	stream->local = peer->any.sa_family == AF_UNIX || is_loopback(peer);
	net_format(peer, text, sizeof(text));
	snprintf(stream->peer, sizeof(stream->peer), "%.*s", (int)sizeof(stream->peer) - 1, text);
}

void net_describe_accepted(struct stream *stream, int fd, const char *bound)
{
	struct net_address peer = { .size = sizeof(peer) - offsetof(struct net_address, any) };

	if (strncmp(bound, unix_prefix, sizeof(unix_prefix) - 1) == 0) {
		/* The peer of a unix socket has no name of its own. */
		stream->local = true;
		snprintf(stream->peer, sizeof(stream->peer), "%.*s", (int)sizeof(stream->peer) - 1,
		         bound);
	} else if (getpeername(fd, &peer.any, &peer.size) == 0) {
		net_describe(stream, &peer);
	}
}
