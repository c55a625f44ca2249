/* SPDX-License-Identifier: Apache-2.0 */
/* weir cert: a certificate that vouches for itself, so that TLS can be tried at once. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/assert.h"
#include "cli/cli.h"
#include "layer/stream_tls.h"

enum { KEY_NAME = 'n', KEY_DAYS = 'd', KEY_FORCE = 'f', DAYS_MAX = 3650, PATH_SIZE = 4096 };
#define DAY_S 86400ll

struct cert_options {
	const char *folder;
	const char *names[STREAM_TLS_NAMES_MAX];
	unsigned name_count;
	unsigned days;
	bool force;
};

static const struct argp_option options[] = {
	{ "name", KEY_NAME, "NAME", 0,
	  "A host or an address it is for, as often as needed (this machine, localhost, 127.0.0.1 "
	  "and ::1)",
	  0 },
	{ "days", KEY_DAYS, "N", 0, "How long it is good for (365)", 0 },
	{ "force", KEY_FORCE, NULL, 0, "Replace files that are there", 0 },
	{ 0 },
};

static error_t parse_option(int key, char *arg, struct argp_state *state)
{
	struct cert_options *o = state->input;

	switch (key) {
	case KEY_NAME:
		if (o->name_count == STREAM_TLS_NAMES_MAX)
			argp_error(state, "at most %d names", STREAM_TLS_NAMES_MAX);
		o->names[o->name_count++] = arg;
		return 0;
	case KEY_DAYS:
		o->days = (unsigned)cli_number(state, arg, 1, DAYS_MAX);
		return 0;
	case KEY_FORCE:
		o->force = true;
		return 0;
	default:
		return cli_take_word(key, arg, state, &o->folder, "directory");
	}
}

/* Beside the old one, and then in its place: a server that reads it meanwhile has one of both. */
static bool write_file(const char *path, const char *text, mode_t mode, bool force)
{
	char beside[PATH_SIZE + 8];
	size_t size = strlen(text);
	bool written;
	int fd;

	if (!force && access(path, F_OK) == 0) {
		cli_error("%s is there already: --force replaces it", path);
		return false;
	}
	snprintf(beside, sizeof(beside), "%s.new", path);
	unlink(beside);
	fd = open(beside, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode);
	written = fd >= 0 && write(fd, text, size) == (ssize_t)size && fsync(fd) == 0;
	if (fd >= 0 && close(fd) != 0)
		written = false;
	if (!written || rename(beside, path) != 0) {
		cli_error("%s: %s", path, strerror(errno));
		return false;
	}
	return true;
}

static enum cli_exit write_pair(const struct cert_options *o, const struct stream_tls_pair *pair)
{
	char certificate[PATH_SIZE], key[PATH_SIZE];

	snprintf(certificate, sizeof(certificate), "%.4000s/cert.pem", o->folder);
	snprintf(key, sizeof(key), "%.4000s/key.pem", o->folder);
	if (mkdir(o->folder, 0777) != 0 && errno != EEXIST) {
		cli_error("%s: %s", o->folder, strerror(errno));
		return CLI_ENVIRONMENT;
	}
	if (!write_file(key, pair->key, 0600, o->force) ||
	    !write_file(certificate, pair->certificate, 0644, o->force))
		return CLI_ENVIRONMENT;
	printf("certificate %s\nkey         %s\nsha256      %s\n", certificate, key,
	       pair->fingerprint);
	return CLI_DONE;
}

enum cli_exit cert_main(int argc, char **argv)
{
	static const struct argp argp = {
		.options = options,
		.parser = parse_option,
		.args_doc = "DIRECTORY",
		.doc = "Makes a key and a certificate that vouches for itself, DIRECTORY/key.pem "
		       "and DIRECTORY/cert.pem, for tls.key and tls.certificate. For "
		       "development: nobody trusts it who was not given it.\vA server that runs "
		       "reads them again after SIGHUP.",
	};
	static struct stream_tls_pair pair;
	char host[256] = "";
	struct cert_options o = { .days = 365 };
	struct stream_tls_make make;

	cli_parse(&argp, argc, argv, &o);
	if (o.folder == NULL) {
		cli_error("say in which directory");
		return CLI_USAGE;
	}
	if (o.name_count == 0) {
		o.names[o.name_count++] = "localhost";
		o.names[o.name_count++] = "127.0.0.1";
		o.names[o.name_count++] = "::1";
		if (gethostname(host, sizeof(host) - 1) == 0 && host[0] != '\0')
			o.names[o.name_count++] = host;
	}
	make = (struct stream_tls_make){
		.names = o.names,
		.name_count = o.name_count,
		.from_s = (int64_t)time(NULL) - DAY_S, /* clocks differ */
		.to_s = (int64_t)time(NULL) + o.days * DAY_S,
	};
	if (stream_tls_make(&make, &pair) != STATUS_OK) {
		cli_error("a name is a host such as weir.example.org, or an address");
		return CLI_USAGE;
	}
	return write_pair(&o, &pair);
}
