/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/s3_masters.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/digest.h"
#include "wire/text.h"

enum { PATH_SIZE = 4200, LINE = 2 * S3_MASTER_KEY_SIZE + 1, FILE_MAX = 4096 };

/* All of it is on disk before the first object depends on it. */
static enum status make(struct host *host, const char *path, const char *directory)
{
	uint8_t key[S3_MASTER_KEY_SIZE];
	char line[LINE];
	int fd, place = -1, error = 0;

	if (getrandom(key, sizeof(key), 0) != sizeof(key))
		return host_fail(host, STATUS_UNAVAILABLE, "this machine gives no random bytes");
	hex_format(bytes_of(key, sizeof(key)), line);
	line[LINE - 1] = '\n';
	fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd < 0 || write(fd, line, LINE) != LINE || fsync(fd) != 0)
		error = errno;
	if (error == 0)
		place = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (error == 0 && (place < 0 || fsync(place) != 0))
		error = errno;
	if (place >= 0)
		close(place);
	if (fd >= 0)
		close(fd);
	explicit_bzero(key, sizeof(key));
	explicit_bzero(line, sizeof(line));
	return error == 0
	               ? STATUS_OK
	               : host_fail(host, status_from_errno(error), "%s: %s", path, strerror(error));
}

/* False: a line is not a key, or there are too many, or none. */
static bool parse(struct bytes text, struct s3_server_options *options)
{
	while (text.size > 0) {
		struct bytes line = bytes_trim(bytes_cut(&text, '\n'));

		if (line.size == 0 || line.data[0] == '#')
			continue;
		if (line.size != LINE - 1 || options->master_count == S3_MASTERS_MAX ||
		    !hex_parse(line, options->masters[options->master_count]))
			return false;
		options->master_count++;
	}
	return options->master_count > 0;
}

static enum status load(struct host *host, const char *path, struct s3_server_options *options)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	uint8_t data[FILE_MAX];
	enum status status = STATUS_OK;
	ssize_t size = 0;
	struct stat st;

	if (fd < 0 || fstat(fd, &st) != 0 || (size = read(fd, data, sizeof(data))) < 0)
		status = host_fail(host, status_from_errno(errno), "%s: %s", path, strerror(errno));
	else if (st.st_mode & 077)
		status = host_fail(host, STATUS_DENIED, "%s: others than its owner may read it",
		                   path);
	else if (size == sizeof(data) || !parse(bytes_of(data, (size_t)size), options))
		status = host_fail(host, STATUS_INVALID,
		                   "%s: is not 1 to %d lines of %d hexadecimal digits", path,
		                   S3_MASTERS_MAX, LINE - 1);
	if (fd >= 0)
		close(fd);
	explicit_bzero(data, sizeof(data));
	return status;
}

enum status s3_masters_read(struct host *host, struct s3_server_options *options)
{
	const char *path = conf_text(host->conf, CONF_S3_ENCRYPTION_KEY_FILE);
	enum status status = STATUS_OK;
	char beside[PATH_SIZE];
	struct stat st;

	options->master_count = 0;
	if (path[0] != '\0')
		return load(host, path, options);
	if (stat(host->options.path, &st) != 0 || !S_ISDIR(st.st_mode))
		return STATUS_OK;
	if (snprintf(beside, sizeof(beside), "%s/s3.key", host->options.path) >=
	    (int)sizeof(beside))
		return host_fail(host, STATUS_TOO_LARGE, "the path of the store is too long");
	if (access(beside, F_OK) != 0)
		status = make(host, beside, host->options.path);
	return status == STATUS_OK ? load(host, beside, options) : status;
}
