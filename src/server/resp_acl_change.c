/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Changes of users: ACL SETUSER, DELUSER, LOAD and SAVE. One at a time goes through the first
 * server: it is tried there, made durable, and then applied there and on all others, which all see
 * the same changes in the same order.
 */
#include <stdio.h>

#include "base/assert.h"
#include "base/macros.h"
#include "server/resp_acl_internal.h"
#include "server/resp_internal.h"

struct change_frame {
	struct frame frame;
};

/* Memory: the call's. Thread: that of the worker that the call is on. */
struct change {
	bool (*plan)(struct resp_call *call, struct resp_admin *first); /* false: it is refused */
	admin_step_fn *apply;
	resp_run_fn *reply; /* at home, when all has been applied */
	enum status status; /* of what was to be made durable */
	const char *error;
	struct acl_rules rules; /* SETUSER */
	struct kv_commit commit;
	struct kv_write *writes;
	uint8_t *keys;         /* ACL_KEY_MAX for each write */
	struct resp_file file; /* LOAD, SAVE */
	char text[ACL_DESCRIPTION_MAX];
};

struct change_state {
	struct admin_tour tour; /* first: admin_tour() */
	struct change *change;
};

static struct change *change_of(struct resp_call *call)
{
	return RESP_STATE(call, struct change_state)->change;
}

static struct resp_admin *first_of(const struct resp_call *call)
{
	return admin_of(call)->servers[0]->admin;
}

/* Its turn on the first server. */

static void change_begin(struct resp_call *call);

/* The next change may begin: it finds the users as this one has left them. */
static void change_release(struct resp_admin *first)
{
	struct resp_call *next = STAILQ_FIRST(&first->changes);

	assert(first->changing);
	first->changing = false;
	if (next == NULL)
		return;
	STAILQ_REMOVE_HEAD(&first->changes, wait_link);
	change_begin(next);
}

static void change_apply(struct resp_call *call, struct resp_admin *admin)
{
	change_of(call)->apply(call, admin);
	admin_acl_changed(admin);
	if (admin == first_of(call))
		change_release(admin);
}

static void change_refused(struct req *req)
{
	struct resp_call *call = container_of(req, struct resp_call, req);
	struct change *change = change_of(call);

	if (change->status != STATUS_OK)
		resp_reply_status(call, change->status);
	else
		change->reply(call);
	resp_call_done(call);
}

/* On the first server: nothing is changed. */
static void change_refuse(struct resp_call *call)
{
	struct resp_admin *first = first_of(call);

	worker_send(call->server->worker, &call->req, change_refused);
	change_release(first);
}

static void change_home(struct resp_call *call)
{
	change_of(call)->reply(call);
}

static void change_durable(struct req *req)
{
	struct resp_call *call = container_of(req, struct resp_call, req);
	struct change *change = change_of(call);

	req_pop(req, struct change_frame);
	change->status = req->status;
	if (change->status != STATUS_OK)
		change_refuse(call);
	else
		admin_tour_start(call, change_apply, change_home);
}

static void change_planned(struct resp_call *call)
{
	struct change *change = change_of(call);
	struct resp_admin *first = first_of(call);
	struct kv_cmd cmd = { .op = KV_COMMIT, .commit = &change->commit };

	if (!change->plan(call, first)) {
		change_refuse(call);
	} else if (change->commit.count > 0) {
		change->commit.writes = change->writes;
		req_push(&call->req, struct change_frame, change_durable);
		kv_submit(first->server->kv, &call->req, &cmd);
	} else {
		admin_tour_start(call, change_apply, change_home);
	}
}

static void file_done(struct req *req)
{
	struct resp_call *call = container_of(req, struct resp_call, req);

	req_pop(req, struct change_frame);
	change_planned(call);
}

static void change_begin(struct resp_call *call)
{
	struct change *change = change_of(call);
	struct resp_admin *first = first_of(call);

	assert(call->req.worker == first->server->worker);
	first->changing = true;
	if (change->file.data == NULL) {
		change_planned(call);
		return;
	}
	if (change->file.writes) {
		change->file.size =
		        acl_file_write(&first->acl, change->file.data, change->file.size_max);
		if (change->file.size == 0) {
			snprintf(change->file.error, RESP_FILE_ERROR, "it would be too large");
			change_refuse(call);
			return;
		}
	}
	req_push(&call->req, struct change_frame, file_done);
	call->req.state = REQ_RUNNING; /* no waist does it */
	first->hooks->file(first->hooks_owner, &call->req, &change->file);
}

static void change_arrive(struct req *req)
{
	struct resp_call *call = container_of(req, struct resp_call, req);
	struct resp_admin *first = first_of(call);

	if (first->changing)
		STAILQ_INSERT_TAIL(&first->changes, call, wait_link);
	else
		change_begin(call);
}

static void change_start(struct resp_call *call)
{
	worker_send(first_of(call)->server->worker, &call->req, change_arrive);
}

/* With room for so many writes, and `size` bytes more at *ret_more; NULL: none, replied and done.
 */
static struct change *change_make(struct resp_call *call, uint32_t writes, size_t size,
                                  uint8_t **ret_more)
{
	size_t each = sizeof(struct kv_write) + ACL_KEY_MAX;
	size_t all = sizeof(struct change) + writes * each + size;
	struct change *change = all <= RESP_ARGUMENT_MAX ? resp_call_memory(call, all) : NULL;

	if (change == NULL) {
		resp_reply_error(call, "OOM no memory for this command");
		resp_call_done(call);
		return NULL;
	}
	memset(change, 0, offsetof(struct change, text));
	change->writes = (struct kv_write *)(void *)(change + 1);
	change->keys = (uint8_t *)(change->writes + writes);
	*ret_more = change->keys + (size_t)writes * ACL_KEY_MAX;
	RESP_STATE(call, struct change_state)->change = change;
	return change;
}

static struct kv_write *add_write(struct change *change, struct bytes name, uint8_t op)
{
	struct kv_write *write = &change->writes[change->commit.count];
	uint8_t *key = change->keys + (size_t)change->commit.count++ * ACL_KEY_MAX;

	*write = (struct kv_write){ .key = acl_store_key(name, key), .op = op };
	return write;
}

/* SETUSER. */

static bool setuser_plan(struct resp_call *call, struct resp_admin *first)
{
	struct change *change = change_of(call);
	struct kv_write *write;
	size_t size;

	change->error =
	        acl_user_try(&first->acl, call->argv[2], &change->rules, change->text, &size);
	if (change->error != NULL)
		return false;
	if (!first->keeps_users)
		return true;
	write = add_write(change, call->argv[2], KV_PUT);
	write->value = bytes_of(change->text, size);
	return true;
}

/* Who listens to what the user may not hear any more is cut off. */
static void drop_listeners(struct resp_call *call, struct resp_admin *admin,
                           const struct resp_user *user)
{
	struct resp_connection *connection;

	TAILQ_FOREACH (connection, &admin->server->connections, link) {
		if (connection->user != user || resp_may_listen(connection, acl_may_use_channel))
			continue;
		if (connection == call->connection)
			resp_connection_shut(connection);
		else
			resp_connection_kill(connection);
	}
}

static void setuser_apply(struct resp_call *call, struct resp_admin *admin)
{
	struct change *change = change_of(call);
	const char *error = acl_user_set(&admin->acl, call->argv[2], &change->rules);

	assert(error == NULL); /* the first server has tried it, and all are alike */
	drop_listeners(call, admin, acl_user_find(&admin->acl, call->argv[2]));
}

static void setuser_reply(struct resp_call *call)
{
	const struct change *change = change_of(call);
	const struct acl_rules *rules = &change->rules;

	if (change->error == NULL) {
		resp_reply_ok(call);
	} else if (rules->bad >= rules->count) {
		resp_reply_errorf(call, "ERR %s", change->error);
	} else {
		struct bytes word = rules->words[rules->bad];

		resp_reply_errorf(call, "ERR Error in ACL SETUSER modifier '%.*s': %s",
		                  word.size < 128 ? (int)word.size : 128, (const char *)word.data,
		                  change->error);
	}
}

void acl_setuser_start(struct resp_call *call)
{
	uint32_t count = call->argc - 3, bad, merged;
	size_t size = count * (sizeof(struct bytes) + 1);
	struct change *change;
	uint8_t *more;
	struct bytes *words;

	for (uint32_t i = 3; i < call->argc; i++)
		size += call->argv[i].size;
	change = change_make(call, 1, size, &more);
	if (change == NULL)
		return;
	words = (struct bytes *)(void *)more;
	merged = acl_merge_words(call->argv + 3, count, words, (char *)(words + count), &bad);
	if (merged == UINT32_MAX) {
		struct bytes word = call->argv[3 + bad];

		resp_reply_errorf(call,
		                  "ERR Unmatched parenthesis in acl selector starting at '%.*s'.",
		                  word.size < 128 ? (int)word.size : 128, (const char *)word.data);
		resp_call_done(call);
		return;
	}
	change->rules = (struct acl_rules){ .words = words, .count = merged };
	change->plan = setuser_plan;
	change->apply = setuser_apply;
	change->reply = setuser_reply;
	change_start(call);
}

/* DELUSER. */

static bool is_repeated(const struct resp_call *call, uint32_t word)
{
	uint32_t i = 2;

	while (i < word && !bytes_equal(call->argv[i], call->argv[word]))
		i++;
	return i < word;
}

static bool deluser_plan(struct resp_call *call, struct resp_admin *first)
{
	struct change *change = change_of(call);

	for (uint32_t i = 2; i < call->argc && first->keeps_users; i++) {
		if (acl_user_find(&first->acl, call->argv[i]) != NULL && !is_repeated(call, i))
			add_write(change, call->argv[i], KV_DELETE);
	}
	return true;
}

/* Those who are connected as a user that goes, go. */
static void delete_user(struct resp_call *call, struct resp_admin *admin, struct resp_user *user)
{
	struct resp_connection *connection, *next;

	for (connection = TAILQ_FIRST(&admin->server->connections); connection; connection = next) {
		next = TAILQ_NEXT(connection, link);
		if (connection->user != user)
			continue;
		connection->user = admin->acl.default_user;
		connection->flags &= ~(uint32_t)RESP_CONNECTION_AUTHENTICATED;
		if (connection == call->connection)
			resp_connection_shut(connection);
		else
			resp_connection_kill(connection);
	}
	acl_user_delete(&admin->acl, user);
}

static void deluser_apply(struct resp_call *call, struct resp_admin *admin)
{
	struct admin_tour *tour = admin_tour(call);

	for (uint32_t i = 2; i < call->argc; i++) {
		struct resp_user *user = acl_user_find(&admin->acl, call->argv[i]);

		if (user == NULL)
			continue;
		delete_user(call, admin, user);
		tour->count += tour->next == 0;
	}
}

static void deluser_reply(struct resp_call *call)
{
	resp_reply_i64(call, (int64_t)admin_tour(call)->count);
}

void acl_deluser_start(struct resp_call *call)
{
	struct change *change;
	uint8_t *more;

	for (uint32_t i = 2; i < call->argc; i++) {
		if (bytes_equal(call->argv[i], BYTES("default"))) {
			resp_reply_error(call, "ERR The 'default' user cannot be removed");
			resp_call_done(call);
			return;
		}
	}
	change = change_make(call, call->argc - 2, 0, &more);
	if (change == NULL)
		return;
	change->plan = deluser_plan;
	change->apply = deluser_apply;
	change->reply = deluser_reply;
	change_start(call);
}

/* LOAD and SAVE. */

static bool has_file(struct resp_call *call)
{
	if (admin_text_setting(admin_of(call), "aclfile")[0] != '\0')
		return true;
	resp_reply_error(call,
	                 "ERR This Redis instance is not configured to use an ACL file. You "
	                 "may want to specify users via the ACL SETUSER command and then issue "
	                 "a CONFIG REWRITE (assuming you have a Redis configuration file set) "
	                 "in order to store users in the Redis configuration.");
	resp_call_done(call);
	return false;
}

static bool load_plan(struct resp_call *call, struct resp_admin *first)
{
	struct change *change = change_of(call);
	struct resp_file *file = &change->file;

	if (file->error[0] != '\0')
		return false;
	return acl_file_check(&first->acl, bytes_of(file->data, file->size), file->error);
}

static void load_apply(struct resp_call *call, struct resp_admin *admin)
{
	const struct resp_file *file = &change_of(call)->file;
	struct bytes text = bytes_of(file->data, file->size);
	struct resp_acl *acl = &admin->acl;
	char error[RESP_FILE_ERROR];
	bool loaded;

	for (uint32_t i = 0; i < acl->user_count;) {
		struct resp_user *user = acl->sorted[i];

		if (user == acl->default_user ||
		    acl_file_has(text, bytes_of(user->name, user->name_size)))
			i++;
		else
			delete_user(call, admin, user);
	}
	loaded = acl_file_read(acl, text, error);
	assert(loaded); /* the first server has checked it */
	for (uint32_t i = 0; i < acl->user_count; i++)
		drop_listeners(call, admin, acl->sorted[i]);
}

static void load_reply(struct resp_call *call)
{
	const struct resp_file *file = &change_of(call)->file;

	if (file->error[0] == '\0')
		resp_reply_ok(call);
	else
		resp_reply_errorf(call,
		                  "ERR %s. WARNING: ACL errors detected, no change to the "
		                  "previously active ACL rules was performed",
		                  file->error);
}

/* What was written is all there was to do. */
static bool save_plan(struct resp_call *call, struct resp_admin *first)
{
	(void)call;
	(void)first;
	return false;
}

static void save_reply(struct resp_call *call)
{
	const struct resp_file *file = &change_of(call)->file;

	if (file->error[0] == '\0')
		resp_reply_ok(call);
	else
		resp_reply_errorf(
		        call,
		        "ERR There was an error trying to save the ACLs. Please check the "
		        "server logs for more information: %s",
		        file->error);
}

static struct change *file_change(struct resp_call *call)
{
	uint8_t *more;
	struct change *change = change_make(call, 0, ACL_FILE_MAX, &more);

	if (change != NULL)
		change->file = (struct resp_file){ .data = (char *)more, .size_max = ACL_FILE_MAX };
	return change;
}

void acl_load_start(struct resp_call *call)
{
	struct change *change = has_file(call) ? file_change(call) : NULL;

	if (change == NULL)
		return;
	change->plan = load_plan;
	change->apply = load_apply;
	change->reply = load_reply;
	change_start(call);
}

void acl_save_start(struct resp_call *call)
{
	struct change *change = has_file(call) ? file_change(call) : NULL;

	if (change == NULL)
		return;
	change->file.writes = true;
	change->plan = save_plan;
	change->reply = save_reply;
	change_start(call);
}
