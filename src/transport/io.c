/* SPDX-License-Identifier: Apache-2.0 */
#include "transport/io.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/assert.h"
#include "core/worker.h"
#include "transport/file.h"
#include "transport/io_ops.h"
#include "transport/net.h"

static struct io_options with_defaults(const struct io_options *options)
{
	struct io_options o = *options;

	if (o.queue_depth == 0)
		o.queue_depth = 256;
	if (o.connections_max == 0)
		o.connections_max = 1024;
	if (o.receive_memory == 0)
		o.receive_memory = 16 << 20;
	if (o.helpers == 0)
		o.helpers = 4;
	return o;
}

enum status io_open(enum io_kind kind, struct worker *worker, const struct io_options *options,
                    struct io **out, char error[static IO_ERROR_SIZE])
{
	struct io_options o = with_defaults(options);
	enum status status;

	assert(worker != NULL);
	error[0] = '\0';
	if (kind == IO_PLAIN)
		return plain_open(worker, &o, out, error);
	status = uring_open(worker, &o, out, error);
	if (status == STATUS_OK || kind == IO_URING)
		return status;
	{
		char plain_error[IO_ERROR_SIZE] = "";

		status = plain_open(worker, &o, out, plain_error);
		if (status != STATUS_OK)
			memcpy(error, plain_error, IO_ERROR_SIZE);
	}
	return status;
}

void io_close(struct io *io)
{
	io->transport.ops->close(&io->transport);
}

const char *io_name(const struct io *io)
{
	return io->ops->name;
}

void io_register(struct io *io, void *memory, size_t size)
{
	assert(memory != NULL && size > 0);
	io->ops->register_memory(io, memory, size);
}

enum status io_blk_open(struct io *io, const char *path, const struct io_file_options *options,
                        struct blk **out, char error[static IO_ERROR_SIZE])
{
	struct file file;
	enum status status = file_open(&file, path, options, error);

	if (status != STATUS_OK)
		return status;
	status = io->ops->blk_open(io, &file, out);
	if (status != STATUS_OK) {
		snprintf(error, IO_ERROR_SIZE, "open %.120s: %s", path, status_text(status));
		close(file.fd);
		return status;
	}
	(*out)->worker = io->transport.worker;
	(*out)->geometry = file.geometry;
	return STATUS_OK;
}

enum status io_listen(struct io *io, const struct io_listen_options *options, struct listener **out,
                      char error[static IO_ERROR_SIZE])
{
	char bound[NET_TEXT_SIZE];
	enum status status;
	int fd;

	assert(options->handler != NULL && options->handler->accepted != NULL);
	status = net_listen(options, &fd, bound, error);
	if (status != STATUS_OK)
		return status;
	status = io->ops->listen(io, fd, out);
	if (status != STATUS_OK) {
		snprintf(error, IO_ERROR_SIZE, "listen at %s: %s", bound, status_text(status));
		net_unlisten(fd, bound);
		close(fd);
		return status;
	}
	(*out)->worker = io->transport.worker;
	(*out)->handler = options->handler;
	(*out)->owner = options->owner;
	memcpy((*out)->address, bound, sizeof(bound));
	return STATUS_OK;
}

enum status io_connect(struct io *io, const struct io_connect_options *options, struct stream **out,
                       char error[static IO_ERROR_SIZE])
{
	struct net_address address;
	enum status status;
	int fd;

	assert(options->handler != NULL);
	status = net_parse(options->address, &address, error);
	if (status == STATUS_OK)
		status = net_socket(&address, &fd, error);
	if (status != STATUS_OK)
		return status;
	status = io->ops->connect(io, fd, &address, out);
	if (status != STATUS_OK) {
		snprintf(error, IO_ERROR_SIZE, "connect to %.120s: %s", options->address,
		         status_text(status));
		close(fd);
		return status;
	}
	(*out)->handler = options->handler;
	(*out)->owner = options->owner;
	net_describe(*out, &address);
	return STATUS_OK;
}
