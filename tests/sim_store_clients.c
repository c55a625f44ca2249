/* SPDX-License-Identifier: Apache-2.0 */
#include "sim_store_clients.h"

#include <inttypes.h>
#include <stdlib.h>

#include "base/assert.h"

enum {
	COMMIT_MAX = 64,
	PIECE_SIZE = 16 << 10, /* of a blob */
	EXPIRY_MAX_MS = 40,
	TOUCH_MS = 1000000,     /* past any run; only of what had no end */
	SMALL_VALUE_MAX = 4000, /* of the writes of a commit */
};

enum kind {
	DO_PUT,
	DO_SWAP, /* PUT if the version is the one last seen */
	DO_DELETE,
	DO_UPDATE,
	DO_COMMIT,
	DO_GET,
	DO_SCAN,
	DO_CLEAR,     /* of a space */
	DO_BLOB,      /* BLOB_WRITE.., PUT */
	DO_BLOB_READ, /* BLOB_OPEN, BLOB_READ.., BLOB_CLOSE */
	KINDS
};

static const struct {
	enum kv_op op;
	unsigned weight;
	const char *name;
} kinds[KINDS] = {
	[DO_PUT] = { KV_PUT, 24, "put" },
	[DO_SWAP] = { KV_PUT, 5, "swap" },
	[DO_DELETE] = { KV_DELETE, 8, "delete" },
	[DO_UPDATE] = { KV_UPDATE, 15, "update" },
	[DO_COMMIT] = { KV_COMMIT, 12, "commit" },
	[DO_GET] = { KV_GET, 20, "get" },
	[DO_SCAN] = { KV_SCAN, 5, "scan" },
	[DO_CLEAR] = { KV_CLEAR, 1, "clear" },
	[DO_BLOB] = { KV_BLOB_WRITE, 5, "blob" },
	[DO_BLOB_READ] = { KV_BLOB_OPEN, 5, "blob read" },
};

struct client {
	struct req req;
	struct store_clients *all;
	struct worker *worker;
	struct kv *kv;
	bool busy;
	enum kind kind;
	uint64_t since, wall_ms_first; /* when it was submitted */
	unsigned key_count;            /* of the writes of a commit; else 1 */
	unsigned keys[COMMIT_MAX];
	uint64_t numbers[COMMIT_MAX]; /* of writes; of what a GET has seen */
	uint64_t seen_version;
	uint32_t size;         /* of the value to write, or of the blob that is read */
	uint64_t handle, done; /* of a blob; bytes of it that were written or read */
	bool closing;          /* the handle is being given back */
	uint64_t expires_ms;
	unsigned draw; /* what the visit of an update does */
	unsigned scan_first, scan_last;
	unsigned blob_count, blobs_written;    /* the first writes of a commit are blobs */
	uint32_t blob_sizes[COMMIT_BLOBS_MAX]; /* of their values */
	uint64_t handles[COMMIT_BLOBS_MAX];
	uint64_t *scanned; /* by key; of a CLEAR the numbers of its deletes */
	uint8_t clear_key;
	struct kv_write writes[COMMIT_MAX];
	struct kv_commit commit;
	uint8_t key_room[COMMIT_MAX][STORE_KEY_MAX];
	uint8_t *value; /* the small ones of a commit, then some of value_max */
};

struct store_clients {
	struct store_harness_options options;
	struct kv_model *model;
	struct store_harness_result *result;
	uint64_t versions[KV_MODEL_KEYS_MAX]; /* by key: the last one that a client was told */
	struct sim *sim;
	unsigned worker_count;
	unsigned client_count;
	struct client clients[];
};

struct client_frame {
	struct frame frame;
	struct client *client;
};

struct store_clients *store_clients_open(const struct store_harness_options *options,
                                         struct kv_model *model,
                                         struct store_harness_result *result)
{
	size_t room = COMMIT_MAX * SMALL_VALUE_MAX + COMMIT_BLOBS_MAX * (size_t)options->value_max;
	struct store_clients *all;

	all = calloc(1, sizeof(*all) + options->clients * sizeof(all->clients[0]));
	assert(all != NULL);
	all->options = *options;
	all->model = model;
	all->result = result;
	all->client_count = options->clients;
	for (unsigned i = 0; i < all->client_count; i++) {
		struct client *client = &all->clients[i];

		client->all = all;
		client->value = calloc(1, room);
		client->scanned = calloc(options->keys, sizeof(client->scanned[0]));
		assert(client->value != NULL && client->scanned != NULL);
	}
	return all;
}

void store_clients_close(struct store_clients *all)
{
	for (unsigned i = 0; i < all->client_count; i++) {
		free(all->clients[i].value);
		free(all->clients[i].scanned);
	}
	free(all);
}

void store_clients_attach(struct store_clients *all, const struct store_env *env,
                          const struct store_binding *binding, void *store)
{
	all->worker_count = env->worker_count;
	all->sim = env->sim;
	memset(all->versions, 0, sizeof(all->versions));
	for (unsigned i = 0; i < all->client_count; i++) {
		assert(!all->clients[i].busy);
		all->clients[i].worker = env->workers[i % env->worker_count];
		all->clients[i].kv = binding->kv(store, i % env->worker_count);
	}
}

void store_clients_drop(struct store_clients *all)
{
	for (unsigned i = 0; i < all->client_count; i++)
		all->clients[i].busy = false;
}

bool store_clients_are_idle(const struct store_clients *all)
{
	for (unsigned i = 0; i < all->client_count; i++) {
		if (all->clients[i].busy)
			return false;
	}
	return true;
}

uint64_t store_clients_since(const struct store_clients *all, uint64_t now)
{
	for (unsigned i = 0; i < all->client_count; i++) {
		if (all->clients[i].busy && all->clients[i].since < now)
			now = all->clients[i].since;
	}
	return now;
}

static void client_done(struct req *req);

static void submit(struct client *client, const struct kv_cmd *cmd)
{
	req_init(&client->req, client->worker);
	req_push(&client->req, struct client_frame, client_done)->client = client;
	kv_submit(client->kv, &client->req, cmd);
}

static struct bytes key_of(struct client *client, unsigned slot)
{
	return store_key(client->keys[slot], client->all->options.keys, client->key_room[slot]);
}

static void seen(struct client *client, unsigned key, uint64_t number, uint64_t version)
{
	if (number == (uint64_t)STORE_NUMBER_UNKNOWN)
		return;
	kv_model_seen(client->all->model,
	              &(struct kv_model_seen){ .key = key,
	                                       .number = number,
	                                       /* A touch has changed it. */
	                                       .version = client->all->options.touch ? 0 : version,
	                                       .since = client->since,
	                                       .wall_ms_first = client->wall_ms_first,
	                                       .wall_ms_last = client->worker->wall_ms });
}

static void see_one(void *visitor, const struct kv_entry *entry, struct kv_edit *edit)
{
	struct client *client = visitor;

	assert(edit == NULL);
	client->numbers[0] = store_entry_number(entry);
	client->seen_version = entry->version;
	client->size = (uint32_t)entry->size;
}

static void see_many(void *visitor, const struct kv_entry *entry, struct kv_edit *edit)
{
	struct client *client = visitor;
	int index = store_key_index(entry->key);

	assert(edit == NULL);
	if (index < (int)client->scan_first || index > (int)client->scan_last) {
		client->numbers[0] = (uint64_t)STORE_NUMBER_FORGED; /* outside of the range */
		return;
	}
	client->scanned[index] = store_entry_number(entry);
}

static void update(void *visitor, const struct kv_entry *entry, struct kv_edit *edit)
{
	struct client *client = visitor;
	uint64_t before = store_entry_number(entry);
	struct kv_model_decision decision = { .number = client->numbers[0], .before = before };

	/* What an update saw is durable when it completes, but it has not completed yet. */
	client->numbers[1] = before;
	client->seen_version = entry->version;
	decision.keeps = client->draw == 0;
	decision.deletes = client->draw == 1;
	if (client->draw == 2 && client->all->options.touch && entry->version != 0 &&
	    entry->expires_ms == 0) {
		decision.keeps = true;
		edit->action = KV_TOUCH;
		edit->expires_ms = client->worker->wall_ms + TOUCH_MS;
	}
	if (before == (uint64_t)STORE_NUMBER_UNKNOWN)
		decision.before = 0;
	kv_model_decide(client->all->model, &decision);
	if (decision.keeps)
		return;
	edit->action = decision.deletes ? KV_REMOVE : KV_STORE;
	if (decision.deletes)
		return;
	assert(client->size <= edit->scratch_max);
	kv_model_fill(client->numbers[0], before, edit->scratch, client->size);
	edit->value = bytes_of(edit->scratch, client->size);
}

static void finish_clear(struct client *client, enum status status)
{
	client->busy = false;
	for (unsigned key = client->scan_first; key <= client->scan_last; key++)
		kv_model_end(client->all->model, client->scanned[key], status, 0);
}

static void finish_writes(struct client *client, enum status status, uint64_t version)
{
	for (unsigned i = 0; i < client->key_count; i++)
		kv_model_end(client->all->model, client->numbers[i], status, version);
	if (version != 0 && status == STATUS_OK)
		client->all->versions[client->keys[0]] = version;
	client->busy = false;
}

static void finish_update(struct client *client, enum status status, uint64_t result)
{
	bool stored = client->draw > 1;

	kv_model_end(client->all->model, client->numbers[0], status, stored ? result : 0);
	if (status == STATUS_OK)
		seen(client, client->keys[0], client->numbers[1], client->seen_version);
	client->busy = false;
}

static void finish_scan(struct client *client, enum status status, uint64_t count)
{
	struct kv_model *model = client->all->model;

	client->busy = false;
	if (status != STATUS_OK)
		return;
	if (client->numbers[0] != 0) /* an entry that is no key of the range */
		seen(client, client->scan_first, client->numbers[0], 0);
	for (unsigned key = client->scan_first; key <= client->scan_last; key++)
		seen(client, key, client->scanned[key], 0);
	/* Over several workers a scan is a moment of each. */
	if (client->all->options.expiry == 0 && client->all->worker_count == 1 &&
	    count <= KV_SCAN_MOMENT)
		kv_model_whole(model, &(struct kv_model_snapshot){ .numbers = client->scanned,
		                                                   .first = client->scan_first,
		                                                   .last = client->scan_last,
		                                                   .since = client->since });
}

static void close_handle(struct client *client)
{
	client->closing = true;
	submit(client, &(struct kv_cmd){ .op = KV_BLOB_CLOSE, .handle = client->handle });
}

static void blob_write_piece(struct client *client)
{
	uint64_t left = client->size - client->done;
	uint64_t piece = left < PIECE_SIZE ? left : PIECE_SIZE;

	submit(client, &(struct kv_cmd){ .op = KV_BLOB_WRITE,
	                                 .partition = (uint16_t)kv_partition(
	                                         key_of(client, 0), client->kv->traits.partitions),
	                                 .handle = client->handle,
	                                 .value = bytes_of(client->value + client->done, piece) });
	client->done += piece;
}

/* 1. Pieces; 2. the PUT that gives them a key; a handle that no PUT took is closed. */
static void blob_written(struct client *client, enum status status, uint64_t result)
{
	bool put = client->done > client->size;

	if (client->closing) {
		client->busy = false;
		return;
	}
	if (!put && status == STATUS_OK) {
		client->handle = result;
		if (client->done < client->size) {
			blob_write_piece(client);
			return;
		}
		client->done = client->size + 1;
		kv_model_decide(client->all->model,
		                &(struct kv_model_decision){ .number = client->numbers[0] });
		submit(client, &(struct kv_cmd){ .op = KV_PUT,
		                                 .flags = KV_FROM_BLOB,
		                                 .key = key_of(client, 0),
		                                 .handle = client->handle });
		return;
	}
	finish_writes(client, status, put && status == STATUS_OK ? result : 0);
	if (status == STATUS_OK || client->handle == 0)
		return;
	client->busy = true;
	close_handle(client);
}

/* 1. The handle; 2. pieces; 3. the handle goes back. */
static void blob_read(struct client *client, enum status status, uint64_t result)
{
	bool opened = client->handle != 0;

	if (client->closing || (!opened && (status != STATUS_OK || result == 0))) {
		if (!client->closing && status == STATUS_OK)
			seen(client, client->keys[0], 0, 0);
		client->busy = false;
		return;
	}
	if (!opened)
		client->handle = result;
	else if (status == STATUS_OK)
		client->done += result;
	if (status != STATUS_OK || client->size > client->all->options.value_max ||
	    (opened && result == 0) || client->done == client->size) {
		struct bytes value = bytes_of(client->value, client->done);
		uint64_t number = kv_model_number(value);

		if (status == STATUS_OK)
			seen(client, client->keys[0],
			     number == 0 ? (uint64_t)STORE_NUMBER_FORGED : number,
			     client->seen_version);
		close_handle(client);
		return;
	}
	submit(client,
	       &(struct kv_cmd){ .op = KV_BLOB_READ,
	                         .handle = client->handle,
	                         .offset = client->done,
	                         .out = client->value + client->done,
	                         .out_size = PIECE_SIZE < client->size - client->done
	                                             ? PIECE_SIZE
	                                             : (uint32_t)(client->size - client->done) });
}

/* The blobs of a commit are written one after the other; then the commit takes them all. */

static uint8_t *commit_blob(struct client *client, unsigned slot)
{
	return client->value + (size_t)COMMIT_MAX * SMALL_VALUE_MAX +
	       (size_t)slot * client->all->options.value_max;
}

static void commit_write_piece(struct client *client)
{
	unsigned slot = client->blobs_written;
	uint64_t left = client->blob_sizes[slot] - client->done;
	uint64_t piece = left < PIECE_SIZE ? left : PIECE_SIZE;

	submit(client,
	       &(struct kv_cmd){
	               .op = KV_BLOB_WRITE,
	               .partition = (uint16_t)kv_partition(key_of(client, slot),
	                                                   client->kv->traits.partitions),
	               .handle = client->handles[slot],
	               .value = bytes_of(commit_blob(client, slot) + client->done, piece) });
	client->done += piece;
}

/* Gives back the handles that no commit took. */
static void commit_close_next(struct client *client)
{
	client->closing = true;
	while (client->blob_count > 0) {
		uint64_t handle = client->handles[--client->blob_count];

		if (handle == 0)
			continue;
		submit(client, &(struct kv_cmd){ .op = KV_BLOB_CLOSE, .handle = handle });
		return;
	}
	client->busy = false;
}

static void commit_went_on(struct client *client, enum status status, uint64_t result)
{
	bool writing = client->blobs_written < client->blob_count;

	if (client->closing) {
		commit_close_next(client);
		return;
	}
	if (writing && status == STATUS_OK) {
		unsigned slot = client->blobs_written;

		client->handles[slot] = result;
		client->writes[slot].version = result;
		if (client->done == client->blob_sizes[slot]) {
			client->blobs_written++;
			client->done = 0;
		}
		if (client->blobs_written < client->blob_count)
			commit_write_piece(client);
		else
			submit(client,
			       &(struct kv_cmd){ .op = KV_COMMIT, .commit = &client->commit });
		return;
	}
	/* What failed before the commit was asked for is not there: any status will do. */
	finish_writes(client, writing ? STATUS_BUSY : status, 0);
	if (status == STATUS_OK || client->blob_count == 0)
		return;
	client->busy = true;
	commit_close_next(client);
}

static void draw_commit_blobs(struct client *client, struct prng *prng)
{
	uint32_t most = client->all->options.value_max;

	client->blob_count = client->blobs_written = 0;
	if (most <= KV_INLINE_MAX || prng_below(prng, 3) != 0)
		return;
	client->blob_count = 1 + (unsigned)prng_below(prng, COMMIT_BLOBS_MAX);
	if (client->blob_count > client->key_count)
		client->blob_count = client->key_count;
	for (unsigned i = 0; i < client->blob_count; i++) {
		client->handles[i] = 0;
		client->blob_sizes[i] = (uint32_t)prng_range(prng, KV_MODEL_VALUE_MIN, most);
	}
}

static void client_done(struct req *req)
{
	struct client *client = req_pop(req, struct client_frame)->client;
	enum status status = req->status;
	uint64_t result = req->result;

	client->all->result->status[status]++;
	sim_trace(client->all->sim, "client %u %s key %u number %" PRIu64 ": %s, %" PRIu64,
	          (unsigned)(client - client->all->clients), kinds[client->kind].name,
	          client->keys[0], client->numbers[0], status_name(status), result);
	switch (client->kind) {
	case DO_PUT:
	case DO_SWAP:
		if (status == STATUS_CONFLICT)
			client->all->versions[client->keys[0]] = result;
		finish_writes(client, status, status == STATUS_OK ? result : 0);
		break;
	case DO_DELETE:
		finish_writes(client, status, 0);
		break;
	case DO_COMMIT:
		commit_went_on(client, status, result);
		break;
	case DO_UPDATE:
		finish_update(client, status, result);
		break;
	case DO_GET:
		if (status == STATUS_OK)
			seen(client, client->keys[0], client->numbers[0], result);
		if (status == STATUS_OK)
			client->all->versions[client->keys[0]] = result;
		client->busy = false;
		break;
	case DO_SCAN:
		finish_scan(client, status, result);
		break;
	case DO_CLEAR:
		finish_clear(client, status);
		break;
	case DO_BLOB:
		blob_written(client, status, result);
		break;
	case DO_BLOB_READ:
		blob_read(client, status, result);
		break;
	case KINDS:
		unreachable();
	}
}

static uint32_t draw_size(struct prng *prng, uint32_t max)
{
	uint32_t most = prng_below(prng, 4) == 0 ? max : 200;

	return (uint32_t)prng_range(prng, KV_MODEL_VALUE_MIN, most < max ? most : max);
}

static uint64_t draw_expiry(struct client *client, struct prng *prng)
{
	if (!prng_chance(prng, client->all->options.expiry))
		return 0;
	return client->worker->wall_ms + 1 + prng_below(prng, EXPIRY_MAX_MS);
}

/* In a run without expiry nothing is there to be kept. */
static uint64_t draw_commit_expiry(struct client *client, struct prng *prng)
{
	if (client->all->options.expiry > 0 && prng_below(prng, 6) == 0)
		return KV_MODEL_EXPIRY_KEPT;
	return draw_expiry(client, prng);
}

static bool key_is_relaxed(const struct client *client, unsigned slot)
{
	const struct store_harness_options *options = &client->all->options;

	return options->relaxed >> store_space_of(client->keys[slot], options->keys) & 1;
}

/* Tells the model of the write to key `slot`; the number that its value carries. */
static uint64_t begin_write(struct client *client, unsigned slot, struct kv_model_write what)
{
	unsigned partition = kv_partition(key_of(client, slot), client->kv->traits.partitions);

	what.key = client->keys[slot];
	what.stream = partition % client->all->worker_count;
	what.relaxed = what.unsure = key_is_relaxed(client, slot);
	for (unsigned i = 0; i < client->key_count; i++)
		what.unsure = what.unsure && key_is_relaxed(client, i);
	return kv_model_begin(client->all->model, &what);
}

static void start_put(struct client *client, struct prng *prng)
{
	uint32_t max = client->all->options.value_max;
	struct kv_cmd cmd = { .op = KV_PUT, .key = key_of(client, 0) };
	struct kv_model_write what;

	client->size = draw_size(prng, max < KV_INLINE_MAX ? max : KV_INLINE_MAX);
	client->expires_ms = draw_commit_expiry(client, prng);
	what = (struct kv_model_write){ .size = client->size, .expires_ms = client->expires_ms };
	client->numbers[0] = begin_write(client, 0, what);
	kv_model_fill(client->numbers[0], 0, client->value, client->size);
	cmd.value = bytes_of(client->value, client->size);
	if (client->expires_ms == KV_MODEL_EXPIRY_KEPT)
		cmd.flags |= KV_KEEP_EXPIRY;
	else
		cmd.expires_ms = client->expires_ms;
	if (client->kind == DO_SWAP) {
		cmd.flags |= KV_IF_VERSION;
		cmd.version = client->all->versions[client->keys[0]];
	}
	submit(client, &cmd);
}

static void start_delete(struct client *client)
{
	client->numbers[0] = begin_write(client, 0, (struct kv_model_write){ .deletes = true });
	submit(client, &(struct kv_cmd){ .op = KV_DELETE, .key = key_of(client, 0) });
}

static void start_update(struct client *client, struct prng *prng)
{
	client->draw = (unsigned)prng_below(prng, 8);
	client->size = draw_size(prng, SMALL_VALUE_MAX);
	client->numbers[0] = begin_write(
	        client, 0, (struct kv_model_write){ .size = client->size, .undecided = true });
	submit(client, &(struct kv_cmd){ .op = KV_UPDATE,
	                                 .flags = KV_LOAD,
	                                 .key = key_of(client, 0),
	                                 .visit = update,
	                                 .visitor = client });
}

static void draw_commit_keys(struct client *client, struct prng *prng)
{
	unsigned most = client->all->options.commit_max;
	unsigned wanted = 2 + (unsigned)prng_below(prng, most - 1);

	client->key_count = 0;
	for (unsigned i = 0; i < wanted; i++) {
		unsigned key = (unsigned)prng_below(prng, client->all->options.keys), at = 0;

		while (at < client->key_count && client->keys[at] != key)
			at++;
		if (at == client->key_count)
			client->keys[client->key_count++] = key;
	}
}

static void start_commit(struct client *client, struct prng *prng)
{
	uint64_t group = UINT64_MAX;
	bool large = prng_below(prng, 2) == 0; /* of more than a frame, if it has many keys */

	draw_commit_keys(client, prng);
	draw_commit_blobs(client, prng);
	for (unsigned i = 0; i < client->key_count; i++) {
		struct kv_write *write = &client->writes[i];
		uint8_t *value = client->value + (size_t)i * SMALL_VALUE_MAX;
		struct kv_model_write what = { .group = group };

		what.deletes = i >= client->blob_count && prng_below(prng, 5) == 0;
		what.size = large ? (uint32_t)prng_range(prng, SMALL_VALUE_MAX / 2, SMALL_VALUE_MAX)
		                  : draw_size(prng, SMALL_VALUE_MAX);
		if (i < client->blob_count) {
			what.size = client->blob_sizes[i];
			value = commit_blob(client, i);
		}
		what.expires_ms = what.deletes ? 0 : draw_commit_expiry(client, prng);
		client->numbers[i] = begin_write(client, i, what);
		if (i == 0)
			group = client->numbers[0];
		*write = (struct kv_write){ .op = what.deletes ? KV_DELETE : KV_PUT,
			                    .key = key_of(client, i),
			                    .expires_ms = what.expires_ms };
		if (what.deletes)
			continue;
		kv_model_fill(client->numbers[i], 0, value, what.size);
		if (what.expires_ms == KV_MODEL_EXPIRY_KEPT)
			write->flags |= KV_KEEP_EXPIRY;
		else
			write->expires_ms = what.expires_ms;
		if (i < client->blob_count)
			write->flags |= KV_FROM_BLOB;
		else
			write->value = bytes_of(value, what.size);
	}
	client->commit = (struct kv_commit){ client->writes, client->key_count };
	if (client->blob_count > 0)
		commit_write_piece(client);
	else
		submit(client, &(struct kv_cmd){ .op = KV_COMMIT, .commit = &client->commit });
}

static void start_scan(struct client *client, struct prng *prng)
{
	unsigned count = client->all->options.keys;
	unsigned space = (unsigned)prng_below(prng, STORE_SPACES);
	unsigned first = store_space_first(space, count);
	unsigned last = store_space_first(space + 1, count) - 1;
	struct kv_cmd cmd = {
		.op = KV_SCAN, .limit = UINT32_MAX, .visit = see_many, .visitor = client
	};

	client->scan_first = (unsigned)prng_range(prng, first, last);
	client->scan_last = (unsigned)prng_range(prng, client->scan_first, last);
	client->keys[0] = client->scan_first;
	cmd.key = key_of(client, 0);
	if (client->scan_last < last) {
		client->keys[1] = client->scan_last + 1;
		cmd.end = key_of(client, 1);
	}
	if (prng_below(prng, 2) == 0)
		cmd.flags = KV_REVERSE;
	memset(client->scanned, 0, count * sizeof(client->scanned[0]));
	client->numbers[0] = 0;
	submit(client, &cmd);
}

/* Over several workers each clears its keys at a moment of its own. */
static void start_clear(struct client *client, struct prng *prng)
{
	unsigned count = client->all->options.keys;
	unsigned space = (unsigned)prng_below(prng, STORE_SPACES);
	uint64_t group = client->all->worker_count == 1 ? UINT64_MAX : 0;

	client->scan_first = client->keys[0] = store_space_first(space, count);
	client->scan_last = store_space_first(space + 1, count) - 1;
	for (unsigned key = client->scan_first; key <= client->scan_last; key++) {
		client->scanned[key] = kv_model_begin(
		        client->all->model,
		        &(struct kv_model_write){ .key = key, .deletes = true, .group = group });
		if (group == UINT64_MAX)
			group = client->scanned[key];
	}
	client->clear_key = store_space(space);
	submit(client, &(struct kv_cmd){ .op = KV_CLEAR, .key = bytes_of(&client->clear_key, 1) });
}

static void start_blob(struct client *client, struct prng *prng)
{
	client->size =
	        (uint32_t)prng_range(prng, KV_MODEL_VALUE_MIN, client->all->options.value_max);
	client->numbers[0] = begin_write(
	        client, 0, (struct kv_model_write){ .size = client->size, .undecided = true });
	kv_model_fill(client->numbers[0], 0, client->value, client->size);
	blob_write_piece(client);
}

static void start_kind(struct client *client, struct prng *prng)
{
	switch (client->kind) {
	case DO_PUT:
	case DO_SWAP:
		start_put(client, prng);
		break;
	case DO_DELETE:
		start_delete(client);
		break;
	case DO_UPDATE:
		start_update(client, prng);
		break;
	case DO_COMMIT:
		start_commit(client, prng);
		break;
	case DO_GET:
		submit(client, &(struct kv_cmd){ .op = KV_GET,
		                                 .flags = KV_LOAD,
		                                 .key = key_of(client, 0),
		                                 .visit = see_one,
		                                 .visitor = client });
		break;
	case DO_SCAN:
		start_scan(client, prng);
		break;
	case DO_CLEAR:
		start_clear(client, prng);
		break;
	case DO_BLOB:
		start_blob(client, prng);
		break;
	case DO_BLOB_READ:
		submit(client, &(struct kv_cmd){ .op = KV_BLOB_OPEN,
		                                 .key = key_of(client, 0),
		                                 .visit = see_one,
		                                 .visitor = client });
		break;
	case KINDS:
		unreachable();
	}
}

static bool kind_is_allowed(const struct store_harness_options *options, enum kind kind)
{
	if (options->without & 1u << kinds[kind].op)
		return false;
	/* Blobs are for stores that have them and runs that want them. */
	return (kind != DO_BLOB && kind != DO_BLOB_READ) || options->value_max > KV_INLINE_MAX;
}

static enum kind draw_kind(const struct store_harness_options *options, struct prng *prng)
{
	for (;;) {
		unsigned weight = (unsigned)prng_below(prng, 100), kind = 0;

		while (weight >= kinds[kind].weight)
			weight -= kinds[kind++].weight;
		if (kind_is_allowed(options, (enum kind)kind))
			return (enum kind)kind;
	}
}

int store_clients_start(struct store_clients *all, struct prng *prng)
{
	unsigned index = (unsigned)prng_below(prng, all->client_count);
	struct client *client = &all->clients[index];

	if (client->busy)
		return -1;
	client->busy = true;
	client->kind = draw_kind(&all->options, prng);
	client->since = kv_model_now(all->model);
	client->wall_ms_first = client->worker->wall_ms;
	client->key_count = 1;
	client->keys[0] = (unsigned)prng_below(prng, all->options.keys);
	/* A few keys are hot: concurrent writers meet there. */
	if (prng_below(prng, 3) == 0)
		client->keys[0] %= 4;
	client->handle = client->done = client->expires_ms = 0;
	client->closing = false;
	client->numbers[0] = client->numbers[1] = 0;
	start_kind(client, prng);
	sim_trace(all->sim, "client %u starts %s key %u number %" PRIu64, index,
	          kinds[client->kind].name, client->keys[0], client->numbers[0]);
	return (int)(index % all->worker_count);
}
