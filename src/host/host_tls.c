/* SPDX-License-Identifier: Apache-2.0 */
/* TLS of a host: the files that say who it is, and a layer on every worker that has connections. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "base/assert.h"
#include "host/host.h"
#include "layer/stream_tls.h"
#include "transport/clock.h"

enum { FILE_MAX = 1 << 20, EXPIRY_DAYS = 14 };
#define DAY_S 86400ll

/* The files of tls.*, and what they say. Memory: tls_files_drop(). */
struct tls_files {
	char *certificate, *key, *client_ca;
	struct stream_tls_identity identity;
};

static void drop(char **text)
{
	if (*text != NULL)
		explicit_bzero(*text, FILE_MAX);
	free(*text);
	*text = NULL;
}

static void files_drop(struct tls_files *files)
{
	drop(&files->certificate);
	drop(&files->key);
	drop(&files->client_ca);
}

static enum status file_read(const char *path, char **text, struct bytes *out, char *error)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t part = 1;
	size_t size = 0;

	*text = calloc(1, FILE_MAX);
	while (fd >= 0 && *text != NULL && part > 0 && size < FILE_MAX) {
		part = read(fd, *text + size, FILE_MAX - size);
		if (part > 0)
			size += (size_t)part;
	}
	if (fd < 0 || part < 0)
		snprintf(error, HOST_ERROR_SIZE, "%.300s: %s", path, strerror(errno));
	else if (*text == NULL)
		snprintf(error, HOST_ERROR_SIZE, "%.300s: no memory", path);
	else if (size == FILE_MAX)
		snprintf(error, HOST_ERROR_SIZE, "%.300s: it is larger than 1 MiB", path);
	if (fd >= 0)
		close(fd);
	*out = bytes_of(*text, size);
	return fd >= 0 && part >= 0 && *text != NULL && size < FILE_MAX ? STATUS_OK
	                                                                : STATUS_INVALID;
}

static enum status files_read(const struct conf *conf, struct tls_files *files, char *error)
{
	const char *certificate = conf_text(conf, CONF_TLS_CERTIFICATE);
	const char *key = conf_text(conf, CONF_TLS_KEY);
	const char *client_ca = conf_text(conf, CONF_TLS_CLIENT_CA);
	struct stream_tls_identity *identity = &files->identity;
	enum status status;

	*files = (struct tls_files){ .identity = { .server = true } };
	if (certificate[0] == '\0' || key[0] == '\0') {
		snprintf(error, HOST_ERROR_SIZE,
		         "an address with TLS needs tls.certificate and tls.key; for development, "
		         "weir cert makes them");
		return STATUS_INVALID;
	}
	identity->tls13_only = conf_number(conf, CONF_TLS_MIN_VERSION) == 1;
	if (client_ca[0] != '\0')
		identity->peers = conf_number(conf, CONF_TLS_CLIENT_AUTH) == 0
		                          ? STREAM_TLS_REQUIRED
		                          : STREAM_TLS_OPTIONAL;
	status = file_read(certificate, &files->certificate, &identity->certificate, error);
	if (status == STATUS_OK)
		status = file_read(key, &files->key, &identity->key, error);
	if (status == STATUS_OK && client_ca[0] != '\0')
		status = file_read(client_ca, &files->client_ca, &identity->trusted, error);
	return status;
}

static void draw(void *owner, uint8_t *out, size_t size)
{
	(void)owner;
	while (size > 0) {
		ssize_t part = getrandom(out, size, 0);

		assert(part > 0 || errno == EINTR); /* the kernel's was asked at the start */
		if (part > 0) {
			out += part;
			size -= (size_t)part;
		}
	}
}

static enum status open_here(struct host_worker *w, void *arg)
{
	const struct stream_tls_options *options = arg;
	struct stream_tls_options own = *options;
	enum status status;

	own.worker = &w->worker;
	own.bufs = &w->bufs;
	status = stream_tls_open(&own, &w->tls);
	explicit_bzero(own.ticket_secret, sizeof(own.ticket_secret));
	return status;
}

static enum status make_context(struct stream_tls *tls, const struct tls_files *files,
                                const struct conf *conf, struct stream_tls_context **out,
                                char *error)
{
	char reason[STREAM_TLS_ERROR_SIZE];
	enum status status = stream_tls_context_open(tls, &files->identity, out, reason);

	if (status != STATUS_OK)
		snprintf(error, HOST_ERROR_SIZE, "tls.certificate = %.200s: %s",
		         conf_text(conf, CONF_TLS_CERTIFICATE), reason);
	return status;
}

/* A context for each worker, or none at all. */
static enum status make_contexts(struct host *host, struct stream_tls_context **contexts,
                                 char *error)
{
	struct tls_files files;
	enum status status = files_read(host->conf, &files, error);

	for (unsigned i = 0; i < host->count && status == STATUS_OK; i++) {
		if (host->workers[i].tls != NULL)
			status = make_context(host->workers[i].tls, &files, host->conf,
			                      &contexts[i], error);
	}
	files_drop(&files);
	for (unsigned i = 0; i < host->count && status != STATUS_OK; i++) {
		stream_tls_context_close(contexts[i]);
		contexts[i] = NULL;
	}
	return status;
}

static enum status use_here(struct host_worker *w, void *arg)
{
	struct stream_tls_context **contexts = arg;

	stream_tls_use(w->tls, contexts[w->worker.id]);
	return STATUS_OK;
}

/* One that ends soon is told of while there is time to get another. */
static void use_contexts(struct host *host, struct stream_tls_context **contexts)
{
	struct clock *clock = clock_system();
	int64_t now_s = (int64_t)(clock->wall_ms(clock) / 1000), left_s = 0;

	for (unsigned i = 0; i < host->count; i++) {
		if (host->workers[i].tls == NULL)
			continue;
		left_s = stream_tls_context_expiry_s(contexts[i]) - now_s;
		host_call(&host->workers[i], use_here, contexts);
	}
	if (left_s < EXPIRY_DAYS * DAY_S)
		host_log(host, LOG_WARN, "tls: the certificate %s, path=%s days=%lld",
		         left_s < 0 ? "has expired" : "expires soon",
		         conf_text(host->conf, CONF_TLS_CERTIFICATE), (long long)(left_s / DAY_S));
}

static enum status open_layers(struct host *host)
{
	struct stream_tls_options options = {
		.memory_size = host->parts.tls,
		.peers_certified = conf_text(host->conf, CONF_TLS_CLIENT_CA)[0] != '\0',
		.handshake_timeout_ns = conf_number(host->conf, CONF_TLS_HANDSHAKE_TIMEOUT),
		.random = draw,
		.ticket_from_ns = clock_system()->now_ns(clock_system()),
	};
	enum status status = STATUS_OK;

	if (getrandom(options.ticket_secret, sizeof(options.ticket_secret), 0) !=
	    sizeof(options.ticket_secret))
		return host_fail(host, STATUS_UNAVAILABLE, "this machine gives no random bytes");
	for (unsigned i = 0; i < host->count && status == STATUS_OK; i++) {
		struct host_worker *w = &host->workers[i];

		if (!(w->worker.roles & ROLE_NETWORK))
			continue;
		status = host_call(w, open_here, &options);
		if (status == STATUS_OK)
			status = stream_tls_metrics(w->tls, &host->metrics);
	}
	explicit_bzero(options.ticket_secret, sizeof(options.ticket_secret));
	return status == STATUS_OK ? status : host_fail(host, status, "tls: no memory");
}

enum status host_tls_open(struct host *host)
{
	struct stream_tls_context *contexts[PLAN_WORKERS_MAX] = { NULL };
	char error[HOST_ERROR_SIZE];
	enum status status;

	if (!conf_wants_tls(host->conf))
		return STATUS_OK;
	status = open_layers(host);
	if (status != STATUS_OK)
		return status;
	status = make_contexts(host, contexts, error);
	if (status != STATUS_OK)
		return host_fail(host, status, "%s", error);
	use_contexts(host, contexts);
	host->tls_certified = conf_text(host->conf, CONF_TLS_CLIENT_CA)[0] != '\0' &&
	                      conf_number(host->conf, CONF_TLS_CLIENT_AUTH) == 0;
	return STATUS_OK;
}

void host_tls_reload(struct host *host)
{
	struct stream_tls_context *contexts[PLAN_WORKERS_MAX] = { NULL };
	char error[HOST_ERROR_SIZE];

	if (!conf_wants_tls(host->conf))
		return;
	if (make_contexts(host, contexts, error) != STATUS_OK) {
		host_log(host, LOG_ERROR, "tls: what was in use is kept: %s", error);
		return;
	}
	use_contexts(host, contexts);
	host_log(host, LOG_INFO, "tls: new connections have the certificate that was read, path=%s",
	         conf_text(host->conf, CONF_TLS_CERTIFICATE));
}

void host_tls_close(struct host_worker *w)
{
	stream_tls_close(w->tls);
	w->tls = NULL;
}

enum status host_tls_check(const struct conf *conf, char error[static HOST_ERROR_SIZE])
{
	struct stream_tls_options options = { .random = draw };
	struct stream_tls_context *context = NULL;
	struct stream_tls *tls = NULL;
	struct tls_files files;
	struct worker worker;
	struct bufs bufs;
	enum status status;

	if (!conf_wants_tls(conf))
		return STATUS_OK;
	snprintf(error, HOST_ERROR_SIZE, "no memory");
	worker_init(&worker, 0, 0, clock_system());
	if (bufs_open(&bufs, BUF_SIZE_MAX, 0) != STATUS_OK)
		return STATUS_NO_SPACE;
	options.worker = &worker;
	options.bufs = &bufs;
	status = stream_tls_open(&options, &tls);
	if (status == STATUS_OK) {
		status = files_read(conf, &files, error);
		if (status == STATUS_OK)
			status = make_context(tls, &files, conf, &context, error);
		files_drop(&files);
	}
	stream_tls_context_close(context);
	stream_tls_close(tls);
	bufs_close(&bufs);
	return status;
}
