/* SPDX-License-Identifier: Apache-2.0 */
/* The keys of the store in memory: loaded when a server starts, and again now and then. */
#include "base/assert.h"
#include "base/macros.h"
#include "core/log.h"
#include "core/worker.h"
#include "server/s3_internal.h"

enum { PAGE = 128 };
#define RELOAD_MIN_NS (1000ull * 1000 * 1000)
#define RELOAD_NS (10ull * 1000 * 1000 * 1000)

struct users_frame {
	struct frame frame;
};

static void users_timer(struct timer *timer)
{
	s3_users_load(container_of(timer, struct s3_server, users_timer));
}

static void keep_text(char *to, uint8_t *to_size, struct bytes from)
{
	if (from.size > 0)
		memcpy(to, from.data, from.size);
	*to_size = (uint8_t)from.size;
}

static void visit_key(void *visitor, const struct kv_entry *entry, struct kv_edit *edit)
{
	struct s3_server *server = visitor;
	struct s3_user *user;
	struct s3_key key;

	(void)edit;
	assert(entry->key.size >= 1 && entry->key.size <= sizeof(server->users_cursor) - 1);
	memcpy(server->users_cursor, entry->key.data, entry->key.size);
	server->users_cursor[entry->key.size] = 0; /* the next key there can be */
	server->users_cursor_size = entry->key.size + 1;
	if (server->users_next_count == S3_KEYS_MAX || !s3_key_parse(&key, entry->value) ||
	    entry->key.size - 1 > S3_ACCESS_KEY_MAX || entry->key.size == 1)
		return;
	user = &server->users_next[server->users_next_count++];
	*user = (struct s3_user){ 0 };
	keep_text(user->access, &user->access_size,
	          bytes_of(entry->key.data + 1, entry->key.size - 1));
	keep_text(user->secret, &user->secret_size, key.secret);
	keep_text(user->id, &user->id_size, key.user);
	keep_text(user->name, &user->name_size, key.name.size > 0 ? key.name : key.user);
	keep_text(user->email, &user->email_size, key.email);
}

static void resume_waiting(struct s3_server *server)
{
	struct s3_call_list list = STAILQ_HEAD_INITIALIZER(list);
	struct s3_call *call;

	STAILQ_CONCAT(&list, &server->users_waiting);
	while ((call = STAILQ_FIRST(&list)) != NULL) {
		STAILQ_REMOVE_HEAD(&list, link);
		call->waiting = false;
		call->next(call);
	}
}

static void users_done(struct s3_server *server)
{
	struct s3_user *users = server->users;

	server->users = server->users_next;
	server->user_count = server->users_next_count;
	server->users_next = users;
	server->users_loaded = true;
	server->users_loaded_ns = server->worker->now_ns;
	server->users_loading = false;
	if (!server->draining)
		timer_arm(&server->worker->timers, &server->users_timer,
		          server->worker->now_ns + RELOAD_NS, users_timer);
	resume_waiting(server);
}

static void users_submit(struct s3_server *server, const struct kv_cmd *cmd, req_fn *done)
{
	req_init(&server->users_req, server->worker);
	req_push(&server->users_req, struct users_frame, done);
	kv_submit(server->kv, &server->users_req, cmd);
}

static void load_page(struct s3_server *server);

static void first_key_made(struct req *req)
{
	struct s3_server *server = container_of(req, struct s3_server, users_req);
	struct s3_key key;

	req_pop(req, struct users_frame);
	if (req->status == STATUS_OK && server->options.first_key != NULL) {
		bool sane = s3_key_parse(
		        &key, bytes_of(server->first_record, sizeof(server->first_record)));

		assert(sane);
		server->options.first_key(server->options.owner,
		                          bytes_of(server->first_key + 1, 20), key.secret);
	}
	explicit_bzero(server->first_record, sizeof(server->first_record));
	server->options.make_first_key = false;
	server->users_next_count = 0;
	server->users_cursor[0] = KV_SPACE_KEYS;
	server->users_cursor_size = 1;
	load_page(server);
}

/* A store without keys gets one, that only this machine is told of. */
static void make_first_key(struct s3_server *server)
{
	char access[20] = { 0 }, secret[40] = { 0 };
	const struct s3_key key = {
		.secret = bytes_of(secret, sizeof(secret)),
		.user = BYTES("weir"),
		.name = BYTES("weir"),
		.created_ms = server->worker->wall_ms,
	};
	struct kv_cmd cmd = { .op = KV_PUT };

	s3_key_generate(server->options.secret, access, secret);
	server->first_key[0] = KV_SPACE_KEYS;
	memcpy(server->first_key + 1, access, sizeof(access));
	cmd.value = bytes_of(server->first_record, s3_key_format(&key, server->first_record));
	cmd.key = bytes_of(server->first_key, sizeof(server->first_key));
	users_submit(server, &cmd, first_key_made);
	explicit_bzero(secret, sizeof(secret));
}

static void page_loaded(struct req *req)
{
	struct s3_server *server = container_of(req, struct s3_server, users_req);

	req_pop(req, struct users_frame);
	if (req->status == STATUS_OK && req->result == PAGE) {
		load_page(server);
		return;
	}
	if (req->status == STATUS_OK && server->users_next_count == 0 &&
	    server->options.make_first_key && !server->draining) {
		make_first_key(server);
		return;
	}
	if (req->status != STATUS_OK) {
		/* What is known stays; calls that wait are told with what there is. */
		memcpy(server->users_next, server->users,
		       server->user_count * sizeof(*server->users));
		server->users_next_count = server->user_count;
	}
	users_done(server);
}

static void load_page(struct s3_server *server)
{
	const struct kv_cmd cmd = {
		.op = KV_SCAN,
		.limit = PAGE,
		.key = bytes_of(server->users_cursor, server->users_cursor_size),
		.visit = visit_key,
		.visitor = server,
	};

	users_submit(server, &cmd, page_loaded);
}

void s3_users_load(struct s3_server *server)
{
	if (server->users_loading || server->draining)
		return;
	server->users_loading = true;
	server->users_next_count = 0;
	server->users_cursor[0] = KV_SPACE_KEYS;
	server->users_cursor_size = 1;
	load_page(server);
}

/* A key that is not known may be new: but strangers shall not make the store busy. */
void s3_users_look_again(struct s3_server *server)
{
	uint64_t soonest = server->users_loaded_ns + RELOAD_MIN_NS;

	if (server->users_loading)
		return;
	if (server->worker->now_ns >= soonest)
		s3_users_load(server);
	else
		timer_arm(&server->worker->timers, &server->users_timer, soonest, users_timer);
}

const struct s3_user *s3_user_of_access(const struct s3_server *server, struct bytes access)
{
	for (uint32_t i = 0; i < server->user_count; i++) {
		const struct s3_user *user = &server->users[i];

		if (bytes_equal(bytes_of(user->access, user->access_size), access))
			return user;
	}
	return NULL;
}

const struct s3_user *s3_user_of_id(const struct s3_server *server, struct bytes id)
{
	for (uint32_t i = 0; i < server->user_count; i++) {
		const struct s3_user *user = &server->users[i];

		if (bytes_equal(bytes_of(user->id, user->id_size), id))
			return user;
	}
	return NULL;
}

const struct s3_user *s3_user_of_email(const struct s3_server *server, struct bytes email)
{
	for (uint32_t i = 0; i < server->user_count; i++) {
		const struct s3_user *user = &server->users[i];

		if (user->email_size > 0 &&
		    bytes_equal(bytes_of(user->email, user->email_size), email))
			return user;
	}
	return NULL;
}

static struct bytes name_of(void *owner, struct bytes id)
{
	const struct s3_user *user = s3_user_of_id(owner, id);

	return user == NULL ? id : bytes_of(user->name, user->name_size);
}

struct s3_names s3_names(struct s3_server *server)
{
	return (struct s3_names){ .name_of = name_of, .owner = server };
}
