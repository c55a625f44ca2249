/* SPDX-License-Identifier: Apache-2.0 */
/* Administration of the RESP face: opened, asked before each call, and carried to all workers. */
#include "server/resp_admin.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/assert.h"
#include "base/macros.h"
#include "server/number.h"
#include "server/resp_acl_internal.h"

enum { USERS_MAX_DEFAULT = 64, PAGE_SIZE = 64 << 10 };

struct resp_admin *admin_of(const struct resp_call *call)
{
	assert(call->server->admin != NULL);
	return call->server->admin;
}

struct bytes admin_text_of(const char *text)
{
	return bytes_of(text, strlen(text));
}

void admin_put_bytes(struct admin_text *text, struct bytes bytes)
{
	size_t room = text->size - text->used;

	if (bytes.size > room) {
		bytes.size = room;
		text->full = true;
	}
	if (bytes.size > 0)
		memcpy(text->data + text->used, bytes.data, bytes.size);
	text->used += bytes.size;
}

void admin_put(struct admin_text *text, const char *format, ...)
{
	char line[512];
	va_list arguments;
	int size;

	va_start(arguments, format);
	size = vsnprintf(line, sizeof(line), format, arguments);
	va_end(arguments);
	assert(size >= 0);
	if ((size_t)size >= sizeof(line)) {
		size = sizeof(line) - 1;
		text->full = true;
	}
	admin_put_bytes(text, bytes_of(line, (size_t)size));
}

struct resp_facts admin_facts(const struct resp_admin *admin)
{
	struct resp_facts facts = { 0 };

	if (admin->hooks != NULL && admin->hooks->facts != NULL)
		admin->hooks->facts(admin->hooks_owner, &facts);
	return facts;
}

/* SHA-256 of the secret and a count that never repeats. */
void admin_random(struct resp_admin *admin, uint8_t *out, size_t size)
{
	struct digest *digest = &admin->acl.sha256;
	uint8_t block[SHA256_SIZE];

	while (size > 0) {
		size_t part = size < sizeof(block) ? size : sizeof(block);

		admin->secret_uses++;
		digest_start(digest);
		digest_add(digest, bytes_of(admin->secret, sizeof(admin->secret)));
		digest_add(digest, bytes_of(&admin->server->worker->id, sizeof(unsigned)));
		digest_add(digest, bytes_of(&admin->secret_uses, sizeof(admin->secret_uses)));
		digest_finish(digest, block);
		memcpy(out, block, part);
		out += part;
		size -= part;
	}
}

void admin_reply_help(struct resp_call *call, const char *name, const char *const *lines,
                      uint32_t count)
{
	char head[128];

	snprintf(head, sizeof(head),
	         "%s <subcommand> [<arg> [value] [opt] ...]. Subcommands are:", name);
	resp_reply_array(call, count + 3);
	resp_reply_simple(call, head);
	for (uint32_t i = 0; i < count; i++)
		resp_reply_simple(call, lines[i]);
	resp_reply_simple(call, "HELP");
	resp_reply_simple(call, "    Prints this help.");
}

/* Rights. */

void admin_acl_changed(struct resp_admin *admin)
{
	const struct resp_user *user = admin->acl.default_user;

	admin->server->settings.authentication_required = !(user->nopass && user->enabled);
}

static struct bytes user_name(const struct resp_user *user)
{
	return bytes_of(user->name, user->name_size);
}

static void deny(struct resp_call *call, enum acl_reason reason, struct bytes object,
                 struct bytes user)
{
	char client[ADMIN_CLIENT_MAX];
	size_t size = admin_describe_client(call->connection, client);
	struct acl_denial denial = {
		.reason = reason,
		.in_multi = call->connection->flags & RESP_CONNECTION_MULTI,
		.object = object,
		.user = user,
		.client = bytes_of(client, size),
		.wall_ms = call->server->worker->wall_ms,
	};

	acl_log_add(&admin_of(call)->acl, &denial);
}

bool admin_authenticate(struct resp_call *call, struct bytes name, struct bytes password)
{
	struct resp_user *user = acl_authenticate(&admin_of(call)->acl, name, password);

	if (user == NULL) {
		deny(call, ACL_AUTH, call->argv[0], name);
		resp_reply_error(call,
		                 "WRONGPASS invalid username-password pair or user is disabled.");
		return false;
	}
	call->connection->user = user;
	call->connection->flags |= RESP_CONNECTION_AUTHENTICATED;
	return true;
}

/* A connection counts as authenticated while, or since, the default user needs no password. */
bool admin_is_authenticated(struct resp_connection *connection)
{
	const struct resp_user *user = connection->server->admin->acl.default_user;

	if (connection->flags & RESP_CONNECTION_AUTHENTICATED)
		return true;
	if (!user->nopass || !user->enabled)
		return false;
	connection->flags |= RESP_CONNECTION_AUTHENTICATED;
	return true;
}

bool admin_is_proven(const struct resp_connection *connection)
{
	const struct stream *stream = connection->stream;

	assert(connection->server->admin != NULL && connection->user != NULL);
	if (!connection->user->nopass)
		return true;
	if (stream == NULL || !stream->local)
		return false;
	return strncmp(stream->peer, "unix:", 5) == 0 ||
	       connection->server->admin->acl.user_count == 1;
}

static void reply_denied(struct resp_call *call, enum acl_reason reason, uint32_t word)
{
	struct bytes name = admin_text_of(call->command->name), object = call->argv[word];

	switch (reason) {
	case ACL_COMMAND:
		object = name;
		resp_reply_errorf(call,
		                  "NOPERM this user has no permissions to run the '%s' command",
		                  call->command->name);
		break;
	case ACL_KEY:
		resp_reply_error(call, "NOPERM this user has no permissions to access one of the "
		                       "keys used as arguments");
		break;
	case ACL_CHANNEL_NAME:
		resp_reply_error(call, "NOPERM this user has no permissions to access one of the "
		                       "channels used as arguments");
		break;
	case ACL_AUTH:
	case ACL_GRANTED:
		unreachable();
	}
	deny(call, reason, object, user_name(call->connection->user));
}

static bool admin_authorize(struct resp_call *call)
{
	struct resp_admin *admin = admin_of(call);
	struct resp_connection *connection = call->connection;
	struct resp_words words = { call->argv, call->argc };
	const struct resp_user *user = connection->user;
	enum acl_reason reason;
	uint32_t id, word;

	if (!admin_is_authenticated(connection)) {
		if (call->command->flags & RESP_NO_AUTH)
			return true;
		resp_reply_error(call, "NOAUTH Authentication required.");
		return false;
	}
	if (acl_may_all(user))
		return true;
	id = acl_command_id(&admin->acl, call->command_index, call->command);
	reason = acl_check(&admin->acl, user, id, words, &word);
	if (reason == ACL_GRANTED)
		return true;
	reply_denied(call, reason, word);
	return false;
}

/* Tours. */

struct admin_tour *admin_tour(struct resp_call *call)
{
	return RESP_STATE(call, struct admin_tour);
}

static void tour_home(struct req *req);

static void tour_arrive(struct req *req)
{
	struct resp_call *call = container_of(req, struct resp_call, req);
	struct admin_tour *tour = admin_tour(call);
	struct resp_admin *home = call->server->admin; /* what is read of it never changes */
	struct resp_admin *here = home->servers[tour->next]->admin;

	assert(here->server->worker == req->worker);
	tour->again = false;
	tour->step(call, here);
	if (!tour->again)
		tour->next++;
	if (!tour->again && tour->next < home->server_count)
		worker_send(home->servers[tour->next]->worker, req, tour_arrive);
	else
		worker_send(tour->worker, req, tour_home);
}

static bool page_get(struct resp_call *call, size_t size)
{
	struct admin_tour *tour = admin_tour(call);
	struct buf *buf = buf_get(call->server->bufs, size);
	struct admin_page *page;

	if (buf == NULL)
		return false;
	page = (struct admin_page *)(void *)buf->data;
	*page = (struct admin_page){ .buf = buf, .size = (uint32_t)(buf->size - sizeof(*page)) };
	if (tour->page == NULL)
		tour->pages = page;
	else
		tour->page->next = page;
	tour->page = page;
	return true;
}

void admin_tour_pages_free(struct admin_tour *tour)
{
	struct admin_page *next;

	for (struct admin_page *page = tour->pages; page != NULL; page = next) {
		next = page->next;
		buf_unref(page->buf);
	}
	tour->pages = tour->page = NULL;
}

static void tour_home(struct req *req)
{
	struct resp_call *call = container_of(req, struct resp_call, req);
	struct admin_tour *tour = admin_tour(call);

	assert(req->worker == call->server->worker);
	if (!tour->again) {
		tour->home(call);
		if (!tour->stays)
			resp_call_done(call);
		return;
	}
	if (!page_get(call, PAGE_SIZE)) {
		admin_tour_pages_free(tour);
		resp_reply_error(call, "OOM no memory for the reply");
		resp_call_done(call);
		return;
	}
	worker_send(call->server->admin->servers[tour->next]->worker, req, tour_arrive);
}

void admin_tour_start(struct resp_call *call, admin_step_fn *step, resp_run_fn *home)
{
	struct admin_tour *tour = admin_tour(call);

	tour->step = step;
	tour->home = home;
	tour->worker = call->server->worker;
	tour->count = 0;
	tour->next = 0;
	tour->stays = false;
	tour->cursor = 0;
	worker_send(admin_of(call)->servers[0]->worker, &call->req, tour_arrive);
}

bool admin_tour_pages(struct resp_call *call, size_t size)
{
	struct admin_tour *tour = admin_tour(call);

	tour->pages = tour->page = NULL;
	if (page_get(call, size > 0 ? size : PAGE_SIZE))
		return true;
	resp_reply_error(call, "OOM no memory for the reply");
	return false;
}

bool admin_tour_text(struct admin_tour *tour, const void *data, size_t size)
{
	struct admin_page *page = tour->page;

	assert(size <= PAGE_SIZE / 2);
	if (size > page->size - page->used)
		return false;
	memcpy(page->data + page->used, data, size);
	page->used += (uint32_t)size;
	return true;
}

void *admin_tour_record(struct admin_tour *tour, size_t size, struct admin_page **page,
                        uint32_t *at)
{
	if (*page == NULL) {
		*page = tour->pages;
		*at = 0;
	}
	while (*page != NULL && *at + size > (*page)->used) {
		*page = (*page)->next;
		*at = 0;
		if (*page == NULL)
			return NULL;
	}
	*at += (uint32_t)size;
	return (*page)->data + *at - size;
}

void admin_tour_reply_text(struct resp_call *call)
{
	struct admin_tour *tour = admin_tour(call);
	bool verbatim = call->out->protocol == 3;
	uint8_t head[RESP_HEADER_MAX];
	int64_t size = verbatim ? 4 : 0;

	for (const struct admin_page *page = tour->pages; page != NULL; page = page->next)
		size += page->used;
	resp_reply_raw(call, bytes_of(head, resp_write_header(head, verbatim ? '=' : '$', size)));
	if (verbatim)
		resp_reply_raw(call, BYTES("txt:"));
	for (const struct admin_page *page = tour->pages; page != NULL; page = page->next)
		resp_reply_raw(call, bytes_of(page->data, page->used));
	resp_reply_raw(call, BYTES("\r\n"));
	admin_tour_pages_free(tour);
}

/* Opening. */

static void admin_sample(struct timer *timer)
{
	struct resp_admin *admin = container_of(timer, struct resp_admin, sampler);
	const struct resp_server *server = admin->server;

	admin->samples[admin->sample_next++ % ADMIN_SAMPLES] = (struct admin_sample){
		.at_ns = server->worker->now_ns,
		.commands = server->stats.commands,
		.bytes_in = server->stats.bytes_in,
		.bytes_out = server->stats.bytes_out,
	};
	timer_arm(&server->worker->timers, timer, server->worker->now_ns + ADMIN_SAMPLE_NS,
	          admin_sample);
}

static void copy_options(struct resp_admin *admin, const struct resp_admin_options *options)
{
	uint8_t id[RESP_RUN_ID_SIZE / 2];

	admin->hooks = options->hooks;
	admin->hooks_owner = options->hooks_owner;
	admin->process_id = options->process_id;
	admin->port = options->port;
	admin->workers = options->workers > 0 ? options->workers : 1;
	snprintf(admin->executable, sizeof(admin->executable), "%s",
	         options->executable ? options->executable : "");
	snprintf(admin->version, sizeof(admin->version), "%s",
	         options->version ? options->version : "0");
	memcpy(admin->secret, options->secret, sizeof(admin->secret));
	admin_random(admin, id, sizeof(id));
	hex_format(bytes_of(id, sizeof(id)), admin->run_id);
	admin->started_ns = admin->server->worker->now_ns;
	admin->started_ms = admin->server->worker->wall_ms;
}

static void admin_free(struct resp_admin *admin)
{
	acl_close(&admin->acl);
	free(admin->slow);
	free(admin->commands);
	free(admin->texts);
	free(admin->numbers);
	free(admin);
}

uint64_t resp_admin_memory(void)
{
	return sizeof(struct resp_admin) + ADMIN_SLOW_MAX * sizeof(struct admin_slow) +
	       ACL_COMMANDS_MAX * sizeof(struct admin_command_sum) + acl_memory(USERS_MAX_DEFAULT) +
	       admin_settings_memory();
}

uint64_t admin_pools_memory(const struct resp_admin *admin)
{
	return admin->server_count * (resp_server_memory() + resp_admin_memory());
}

enum status resp_admin_open(struct resp_server *server, const struct resp_admin_options *options,
                            char *error)
{
	struct resp_admin *admin = calloc(1, sizeof(*admin));

	assert(server->admin == NULL && options->secret != NULL);
	if (admin == NULL)
		return STATUS_NO_SPACE;
	admin->server = server;
	admin->servers[0] = server;
	admin->server_count = 1;
	STAILQ_INIT(&admin->changes);
	admin->slow = calloc(ADMIN_SLOW_MAX, sizeof(*admin->slow));
	admin->commands = calloc(ACL_COMMANDS_MAX, sizeof(*admin->commands));
	if (admin->slow == NULL || admin->commands == NULL ||
	    acl_open(&admin->acl, options->users_max > 0 ? options->users_max
	                                                 : USERS_MAX_DEFAULT) != STATUS_OK) {
		admin_free(admin);
		return STATUS_NO_SPACE;
	}
	if (!admin_settings_open(admin)) {
		admin_free(admin);
		return STATUS_NO_SPACE;
	}
	copy_options(admin, options);
	if (!acl_file_add(&admin->acl, options->users, error)) {
		admin_free(admin);
		return STATUS_INVALID;
	}
	if (options->password.size > 0)
		acl_set_default_password(&admin->acl, options->password);
	if (options->users_path != NULL)
		admin_tell_setting(admin, "aclfile", options->users_path);
	server->admin = admin;
	server->authorize = admin_authorize;
	server->observe = admin_observe;
	server->default_user = admin->acl.default_user;
	admin_acl_changed(admin);
	admin_sample(&admin->sampler);
	return STATUS_OK;
}

void resp_admin_close(struct resp_server *server)
{
	struct resp_admin *admin = server->admin;

	assert(admin != NULL && server->connection_count == 0);
	timer_cancel(&server->worker->timers, &admin->sampler);
	timer_cancel(&server->worker->timers, &admin->pause_timer);
	server->admin = NULL;
	server->authorize = NULL;
	server->observe = NULL;
	server->default_user = NULL;
	admin_free(admin);
}

void resp_admin_join(struct resp_server *const *servers, uint32_t count)
{
	assert(count >= 1 && count <= RESP_SERVERS_MAX);
	for (uint32_t i = 0; i < count; i++) {
		struct resp_admin *admin = servers[i]->admin;

		memcpy(admin->servers, servers, count * sizeof(struct resp_server *));
		admin->server_count = count;
		admin->workers = count;
		memcpy(admin->run_id, servers[0]->admin->run_id, sizeof(admin->run_id));
		/* So that CLIENT ID is one of a kind. */
		servers[i]->connection_id_next = ((uint64_t)i << 40) + 1;
	}
}

void resp_admin_set_password(struct resp_server *server, struct bytes password)
{
	const struct resp_admin *admin = server->admin;

	for (uint32_t i = 0; i < admin->server_count; i++) {
		struct resp_admin *other = admin->servers[i]->admin;

		acl_set_default_password(&other->acl, password);
		other->acl.default_user->enabled = true;
		admin_acl_changed(other);
	}
}

bool resp_admin_is_open(const struct resp_server *server)
{
	return !server->settings.authentication_required;
}
