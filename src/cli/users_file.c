/* SPDX-License-Identifier: Apache-2.0 */
/* The file of resp.acl_file, read and written whole by the main thread. */
#include "cli/users_file.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { PATH_SIZE = 4200 };

static void fail(struct resp_file *file, const char *path, const char *why)
{
	snprintf(file->error, sizeof(file->error), "%.128s: %.100s", path, why);
}

void users_file_read(const char *path, struct resp_file *file)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t part = 1;

	file->size = 0;
	while (fd >= 0 && part > 0 && file->size < file->size_max) {
		part = read(fd, file->data + file->size, file->size_max - file->size);
		if (part > 0)
			file->size += (size_t)part;
	}
	if (fd < 0 || part < 0)
		fail(file, path, strerror(errno));
	else if (file->size == file->size_max)
		fail(file, path, "the file is too large");
	if (fd >= 0)
		close(fd);
}

/* All or nothing: another name first, which then takes the file's place. */
static int write_new(const char *path, const struct resp_file *file)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600), error = 0;
	size_t at = 0;

	if (fd < 0)
		return errno;
	while (at < file->size && error == 0) {
		ssize_t part = write(fd, file->data + at, file->size - at);

		if (part < 0)
			error = errno;
		else
			at += (size_t)part;
	}
	if (error == 0 && fsync(fd) != 0)
		error = errno;
	close(fd);
	return error;
}

static int sync_directory(const char *path)
{
	char copy[PATH_SIZE];
	int fd, error = 0;

	snprintf(copy, sizeof(copy), "%s", path);
	fd = open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0 || fsync(fd) != 0)
		error = errno;
	if (fd >= 0)
		close(fd);
	return error;
}

void users_file_write(const char *path, struct resp_file *file)
{
	char other[PATH_SIZE];
	int error;

	snprintf(other, sizeof(other), "%s.new", path);
	error = write_new(other, file);
	if (error == 0 && rename(other, path) != 0)
		error = errno;
	if (error == 0)
		error = sync_directory(path);
	if (error == 0)
		return;
	fail(file, path, strerror(error));
	unlink(other);
}
