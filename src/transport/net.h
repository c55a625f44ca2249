/* SPDX-License-Identifier: Apache-2.0 */
/* Addresses and sockets, for all transports that have them. Control path: may block shortly. */
#ifndef TRANSPORT_NET_H
#define TRANSPORT_NET_H

#include <netinet/in.h>
#include <stdbool.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "transport/io.h"

struct net_address {
	socklen_t size;
	union {
		struct sockaddr any;
		struct sockaddr_in v4;
		struct sockaddr_in6 v6;
		struct sockaddr_un local;
	};
};

enum { NET_TEXT_SIZE = 128 };

/* INVALID, with the reason. */
enum status net_parse(const char *text, struct net_address *out, char error[static IO_ERROR_SIZE]);
void net_format(const struct net_address *address, char *text, size_t size);

/* A listening, non-blocking socket; `bound`: its address. The statuses of io_listen(). */
enum status net_listen(const struct io_listen_options *options, int *out, char bound[NET_TEXT_SIZE],
                       char error[static IO_ERROR_SIZE]);

/* Accepts no more, and removes the file of a unix socket; the caller closes `fd` when it can. */
void net_unlisten(int fd, const char *bound);

/* A non-blocking socket to connect with. */
enum status net_socket(const struct net_address *address, int *out,
                       char error[static IO_ERROR_SIZE]);

void net_set_blocking(int fd);

/* Fills stream->peer and ->local: of a connection that the listener at `bound` accepted. */
void net_describe_accepted(struct stream *stream, int fd, const char *bound);
void net_describe(struct stream *stream, const struct net_address *peer);

#endif
