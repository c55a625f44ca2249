/* SPDX-License-Identifier: Apache-2.0 */
/* Users in the store: what ACL SETUSER has made durable is there again after a restart. */
#include <stdio.h>
#include <stdlib.h>

#include "base/assert.h"
#include "base/macros.h"
#include "server/resp_acl_internal.h"

static const char prefix[] = "acl:";
enum { PREFIX_SIZE = sizeof(prefix) }; /* with the space byte, without a terminator */

struct bytes acl_store_key(struct bytes name, uint8_t *key)
{
	assert(name.size <= ACL_NAME_MAX);
	key[0] = KV_SPACE_SERVER;
	memcpy(key + 1, prefix, PREFIX_SIZE - 1);
	memcpy(key + PREFIX_SIZE, name.data, name.size);
	return bytes_of(key, PREFIX_SIZE + name.size);
}

enum { BATCH = 8 }; /* users of one scan */

struct load_frame {
	struct frame frame;
};

/* Memory: malloc, freed when it completes. */
struct resp_users_load {
	struct resp_server *const *servers;
	uint32_t server_count;
	struct req req, *parent;
	uint32_t key_size;
	uint32_t found; /* by the scan that runs */
	char *error;
	uint8_t key[ACL_KEY_MAX + 1];
	struct {
		uint32_t key_size, size;
		uint8_t key[ACL_KEY_MAX];
		char text[ACL_DESCRIPTION_MAX];
	} users[BATCH];
};

/* May run on another worker: it touches the load alone. */
static void load_visit(void *visitor, const struct kv_entry *entry, struct kv_edit *edit)
{
	struct resp_users_load *load = visitor;
	uint32_t i = load->found;

	(void)edit;
	if (i == BATCH || entry->key.size > ACL_KEY_MAX || entry->value.size > ACL_DESCRIPTION_MAX)
		return;
	load->users[i].key_size = (uint32_t)entry->key.size;
	load->users[i].size = (uint32_t)entry->value.size;
	memcpy(load->users[i].key, entry->key.data, entry->key.size);
	memcpy(load->users[i].text, entry->value.data, entry->value.size);
	load->found++;
}

static void load_close(struct resp_users_load *load, enum status status)
{
	struct req *parent = load->parent;

	for (uint32_t i = 0; i < load->server_count; i++)
		admin_acl_changed(load->servers[i]->admin);
	free(load);
	req_complete(parent, status, 0);
}

/* "user NAME RULES" of what a record says. False: it is not understood. */
static bool load_user(struct resp_users_load *load, uint32_t index)
{
	struct bytes name = bytes_of(load->users[index].key + PREFIX_SIZE,
	                             load->users[index].key_size - PREFIX_SIZE);
	char line[ACL_DESCRIPTION_MAX + ACL_NAME_MAX + 8], why[RESP_FILE_ERROR];
	int size =
	        snprintf(line, sizeof(line), "user %.*s ", (int)name.size, (const char *)name.data);

	memcpy(line + size, load->users[index].text, load->users[index].size);
	for (uint32_t i = 0; i < load->server_count; i++) {
		struct resp_acl *acl = &load->servers[i]->admin->acl;

		if (acl_file_add(acl, bytes_of(line, (size_t)size + load->users[index].size), why))
			continue;
		snprintf(load->error, RESP_FILE_ERROR, "stored user %.*s: %s", (int)name.size,
		         (const char *)name.data, why);
		return false;
	}
	return true;
}

static void load_next(struct resp_users_load *load);

static void load_scanned(struct req *req)
{
	struct resp_users_load *load = container_of(req, struct resp_users_load, req);

	req_pop(req, struct load_frame);
	if (req->status != STATUS_OK) {
		load_close(load, req->status);
		return;
	}
	for (uint32_t i = 0; i < load->found; i++) {
		if (!load_user(load, i)) {
			load_close(load, STATUS_INVALID);
			return;
		}
	}
	if (req->result < BATCH || load->found == 0) {
		load_close(load, STATUS_OK);
		return;
	}
	/* On, from just after the last one. */
	load->key_size = load->users[load->found - 1].key_size;
	memcpy(load->key, load->users[load->found - 1].key, load->key_size);
	load->key[load->key_size++] = 0;
	load_next(load);
}

static void load_next(struct resp_users_load *load)
{
	static const uint8_t end[] = { KV_SPACE_SERVER, 'a', 'c', 'l', ':' + 1 };
	struct kv_cmd cmd = {
		.op = KV_SCAN,
		.limit = BATCH,
		.key = bytes_of(load->key, load->key_size),
		.end = bytes_of(end, sizeof(end)),
		.visit = load_visit,
		.visitor = load,
	};

	load->found = 0;
	req_push(&load->req, struct load_frame, load_scanned);
	kv_submit(load->servers[0]->kv, &load->req, &cmd);
}

void resp_users_load_open(struct resp_server *server, struct req *req, char *error)
{
	struct resp_admin *admin = server->admin;
	struct resp_users_load *load = calloc(1, sizeof(*load));
	struct bytes key;

	assert(req->worker == server->worker && admin->servers[0] == server);
	if (load == NULL) {
		req_complete(req, STATUS_NO_SPACE, 0);
		return;
	}
	load->servers = admin->servers;
	load->server_count = admin->server_count;
	load->parent = req;
	load->error = error;
	req_init(&load->req, server->worker);
	key = acl_store_key(bytes_of("", 0), load->key);
	load->key_size = (uint32_t)key.size;
	for (uint32_t i = 0; i < load->server_count; i++)
		load->servers[i]->admin->keeps_users = true;
	load_next(load);
}
