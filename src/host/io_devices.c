/* SPDX-License-Identifier: Apache-2.0 */
/* Files, block devices and memory as the lowest stages of stacks. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/macros.h"
#include "host/host.h"
#include "transport/mem.h"

enum {
	OPTION_PATH,
	OPTION_SIZE,
	OPTION_BLOCK_SIZE,
	OPTION_CREATE,
	OPTION_DIRECT,
	OPTION_READ_ONLY,
	OPTION_FUA,
	OPTION_LOCK,
	FILE_OPTIONS
};

enum { MEM_SIZE, MEM_BLOCK_SIZE };

enum { FUA_AUTO, FUA_DSYNC, FUA_FLUSH };

enum { LOCK_WAIT_MS = 2000 };

/* As the option says, or what is faster where the file is or will be. */
static enum io_fua choose_fua(uint64_t choice, const char *path)
{
	char folder[CONF_VALUE_MAX + 1], report[IO_ERROR_SIZE];
	char *slash;

	if (choice != FUA_AUTO)
		return choice == FUA_FLUSH ? IO_FUA_FLUSH : IO_FUA_DSYNC;
	if (access(path, F_OK) == 0)
		return io_fua_probe(path, report);
	memcpy(folder, path, strlen(path) + 1);
	slash = strrchr(folder, '/');
	if (slash == NULL)
		return io_fua_probe(".", report);
	slash[slash == folder] = '\0';
	return io_fua_probe(folder, report);
}

static enum status open_path(struct layer_open *open, struct blk **out)
{
	const struct layer_value *v = open->values;
	const struct io_devices *devices = open->env->owner;
	const char *path = v[OPTION_PATH].text;
	struct io_file_options options = {
		.create = v[OPTION_CREATE].number != 0,
		.direct = v[OPTION_DIRECT].number != 0,
		.read_only = v[OPTION_READ_ONLY].number != 0,
		.lock = v[OPTION_LOCK].number != 0 ? IO_LOCK_FIRST : IO_LOCK_NONE,
		.lock_wait_ms = LOCK_WAIT_MS,
		.size = v[OPTION_SIZE].number,
		.block_size = (uint32_t)v[OPTION_BLOCK_SIZE].number,
	};
	char error[IO_ERROR_SIZE] = "";
	enum status status;

	if ((options.block_size & (options.block_size - 1)) != 0)
		return layer_fail_option(open, OPTION_BLOCK_SIZE, "a power of two");
	if (options.create && options.size == 0)
		return layer_fail_option(open, OPTION_CREATE, "how large? size=... is missing");
	options.fua = choose_fua(v[OPTION_FUA].number, path);
	if (devices->look) {
		options.create = false;
		options.lock = IO_LOCK_NONE;
	}
	status = io_blk_open(devices->io, path, &options, out, error);
	if (status == STATUS_OK)
		return STATUS_OK;
	layer_fail_option(open, OPTION_PATH, "%s", error);
	return status;
}

/* By io_uring, or plainly, and nothing else. */
static enum status open_kind(struct layer_open *open, struct blk **out)
{
	const struct io_devices *devices = open->env->owner;
	const char *name = open->layer->name;

	if (strcmp(io_name(devices->io), name) != 0)
		return layer_fail(open, STATUS_UNSUPPORTED,
		                  "this process speaks to the kernel by %s (transport.kind); file "
		                  "takes what there is",
		                  io_name(devices->io));
	return open_path(open, out);
}

static enum status open_mem(struct layer_open *open, struct blk **out)
{
	uint64_t size = open->values[MEM_SIZE].number;
	uint32_t block_size = (uint32_t)open->values[MEM_BLOCK_SIZE].number;

	if ((block_size & (block_size - 1)) != 0)
		return layer_fail_option(open, MEM_BLOCK_SIZE, "a power of two");
	if (size % block_size != 0)
		return layer_fail_option(open, MEM_SIZE, "a multiple of the block size");
	if (size > open->env->memory)
		return layer_fail_option(open, MEM_SIZE,
		                         "%.1f MiB are left for layers: stacks.memory says how "
		                         "much they may take",
		                         (double)open->env->memory / (1 << 20));
	*out = mem_open(open->env->worker, size / block_size, block_size);
	if (*out == NULL)
		return layer_fail(open, STATUS_NO_SPACE, "this machine has not so much memory");
	open->env->memory -= size;
	return STATUS_OK;
}

static const struct conf_setting file_options[FILE_OPTIONS] = {
	[OPTION_PATH] = { .name = "path",
	                  .type = CONF_STRING,
	                  .min = 1,
	                  .max = CONF_VALUE_MAX,
	                  .help = "The file or block device." },
	[OPTION_SIZE] = { .name = "size",
	                  .type = CONF_SIZE,
	                  .initial = "0",
	                  .max = 1ull << 60,
	                  .help = "Bytes to show; a file that is shorter is made so long, "
	                          "sparse. 0: what is there." },
	[OPTION_BLOCK_SIZE] = { .name = "block_size",
	                        .type = CONF_SIZE,
	                        .initial = "4K",
	                        .min = 512,
	                        .max = 64 << 10,
	                        .help = "Of its blocks; the device's own where that is more." },
	[OPTION_CREATE] = { .name = "create",
	                    .type = CONF_BOOLEAN,
	                    .initial = "no",
	                    .max = 1,
	                    .help = "Make the file when it is not there, with the size." },
	[OPTION_DIRECT] = { .name = "direct",
	                    .type = CONF_BOOLEAN,
	                    .initial = "yes",
	                    .max = 1,
	                    .help = "Past the kernel's page cache, where the file system can." },
	[OPTION_READ_ONLY] = { .name = "read_only",
	                       .type = CONF_BOOLEAN,
	                       .initial = "no",
	                       .max = 1,
	                       .help = "Write nothing to it." },
	[OPTION_FUA] = { .name = "fua",
	                 .type = CONF_CHOICE,
	                 .initial = "auto",
	                 .choices = "auto|dsync|flush",
	                 .help = "How one write is made durable; auto: what is faster there." },
	[OPTION_LOCK] = { .name = "lock",
	                  .type = CONF_BOOLEAN,
	                  .initial = "yes",
	                  .max = 1,
	                  .help = "Refuse it while another stack or process has it." },
};

static const struct conf_setting mem_options[] = {
	[MEM_SIZE] = { .name = "size",
	               .type = CONF_SIZE,
	               .min = 64 << 10,
	               .max = 1ull << 46,
	               .help = "How large it is." },
	[MEM_BLOCK_SIZE] = { .name = "block_size",
	                     .type = CONF_SIZE,
	                     .initial = "4K",
	                     .min = 512,
	                     .max = 64 << 10,
	                     .help = "Of its blocks." },
};

static const struct blk_layer device_file = {
	.name = "file",
	.help = "A file or block device, through the transport that this process has.",
	.options = file_options,
	.option_count = FILE_OPTIONS,
	.open = open_path,
};

static const struct blk_layer device_uring = {
	.name = "uring",
	.help = "A file or block device, through io_uring.",
	.options = file_options,
	.option_count = FILE_OPTIONS,
	.open = open_kind,
};

static const struct blk_layer device_plain = {
	.name = "plain",
	.help = "A file or block device, through plain system calls.",
	.options = file_options,
	.option_count = FILE_OPTIONS,
	.open = open_kind,
};

static const struct blk_layer device_mem = {
	.name = "mem",
	.help = "Memory: gone when the process ends.",
	.options = mem_options,
	.option_count = array_count(mem_options),
	.open = open_mem,
};

const struct blk_layer *const io_device_layers[] = {
	&device_file, &device_uring, &device_plain, &device_mem, &device_nvme_tcp, NULL,
};

enum status io_device_read_file(void *owner, const char *path, void *data, size_t size_max,
                                size_t *size)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC), error;
	struct stat st;
	ssize_t got;

	(void)owner;
	if (fd < 0)
		return status_from_errno(errno);
	if (fstat(fd, &st) == 0 && (st.st_mode & 077) != 0) {
		close(fd);
		return STATUS_DENIED;
	}
	got = read(fd, data, size_max);
	error = errno;
	close(fd);
	if (got < 0)
		return status_from_errno(error);
	*size = (size_t)got;
	return STATUS_OK;
}
