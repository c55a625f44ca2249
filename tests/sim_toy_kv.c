/* SPDX-License-Identifier: Apache-2.0 */
#include "sim_toy_kv.h"

#include <stdlib.h>

#include "base/assert.h"
#include "base/hash.h"
#include "base/prng.h"
#include "kv_mem.h"

enum {
	BLOCK = 4096,
	FRAME_MAX = 1 << 20,
	FRAME_SPARE = 600 << 10, /* a command is taken while so much is free */
	FRAME_SMALL = 8 << 10,
	REPLAY_SIZE = 16 << 10, /* read at first of every frame */
	TOY_KV_MAGIC = 0x766b7974,
};

struct toy_head {
	uint32_t magic, crc; /* of all that follows, to the end of `size` */
	uint64_t nonce;      /* of the store */
	uint64_t sequence;
	uint64_t size; /* bytes of records */
};

struct toy_entry {
	uint16_t key_size, kind;
	uint32_t value_size;
	uint64_t version; /* 0: deleted */
	uint64_t expires_ms;
};

struct toy_buffer {
	uint64_t used; /* bytes of records */
	uint8_t *data; /* FRAME_MAX, the head first */
};

struct toy_kv {
	struct kv kv;
	struct actor actor;
	enum toy_kv_bug bug;
	enum store_state state;
	enum status status;
	struct blk *blk;
	struct kv_mem *mem;
	struct kv *mem_kv;
	uint64_t nonce, sequence, durable; /* sequence: of the open frame */
	uint64_t block;                    /* where the open frame will go */
	struct toy_buffer open, flying, late;
	bool busy, dead;
	struct req req;
	struct iovec iov;
	struct req_list waiting; /* executed, until what they saw or wrote is durable */
};

struct toy_op {
	struct frame frame;
	struct toy_kv *toy;
	uint64_t sequence; /* the frame that must be durable */
};

static void submit_blk(struct toy_kv *toy, const struct blk_cmd *cmd, req_fn *done)
{
	req_init(&toy->req, toy->blk->worker);
	req_push(&toy->req, struct toy_op, done)->toy = toy;
	blk_submit(toy->blk, &toy->req, cmd);
}

static void log_key(struct toy_kv *toy, struct toy_buffer *to, struct bytes key)
{
	struct kv_entry entry = kv_mem_peek(toy->mem, key);
	struct toy_entry head = {
		.key_size = (uint16_t)key.size,
		.kind = entry.kind,
		.value_size = (uint32_t)entry.value.size,
		.version = entry.version,
		.expires_ms = entry.expires_ms,
	};
	uint8_t *at = to->data + sizeof(struct toy_head) + to->used;

	assert(sizeof(struct toy_head) + to->used + sizeof(head) + key.size + entry.value.size <=
	       FRAME_MAX);
	memcpy(at, &head, sizeof(head));
	memcpy(at + sizeof(head), key.data, key.size);
	if (entry.value.size > 0)
		memcpy(at + sizeof(head) + key.size, entry.value.data, entry.value.size);
	to->used += sizeof(head) + key.size + entry.value.size;
}

/* Logs what a command that has been executed did. */
static void log_command(struct toy_kv *toy, const struct kv_cmd *cmd)
{
	switch ((enum kv_op)cmd->op) {
	case KV_PUT:
	case KV_DELETE:
	case KV_UPDATE:
		log_key(toy, &toy->open, cmd->key);
		break;
	case KV_COMMIT:
		for (uint32_t i = 0; i < cmd->commit->count; i++) {
			bool late = toy->bug == TOY_KV_SPLIT_COMMIT && i >= cmd->commit->count / 2;

			log_key(toy, late ? &toy->late : &toy->open, cmd->commit->writes[i].key);
		}
		break;
	default:
		break;
	}
}

static bool writes(enum kv_op op)
{
	return op == KV_PUT || op == KV_DELETE || op == KV_UPDATE || op == KV_COMMIT;
}

static void executed(struct req *req)
{
	struct toy_op *op = req_top(req, struct toy_op);
	struct toy_kv *toy = op->toy;

	bool durable = op->sequence <= toy->durable;

	if (!durable && !toy->dead) {
		STAILQ_INSERT_TAIL(&toy->waiting, req, link);
		return;
	}
	(void)req_pop(req, struct toy_op);
	req_complete(req, durable ? req->status : STATUS_IO, req->result);
}

static void toy_submit(struct kv *kv, struct req *req, const struct kv_cmd *cmd)
{
	struct toy_kv *toy = container_of(kv, struct toy_kv, kv);
	uint64_t limit = toy->bug == TOY_KV_STUCK ? FRAME_SMALL : FRAME_MAX - FRAME_SPARE;
	struct toy_op *op;

	if (toy->dead && writes((enum kv_op)cmd->op)) {
		req_complete(req, STATUS_READ_ONLY, 0);
		return;
	}
	if (toy->open.used + toy->late.used > limit || cmd->op == KV_CLEAR ||
	    cmd->op == KV_PREPARE) {
		if (limit != FRAME_SMALL)
			req_complete(req, STATUS_BUSY, 0);
		return;
	}
	op = req_push(req, struct toy_op, executed);
	op->toy = toy;
	kv_submit(toy->mem_kv, req, cmd);
	if (writes((enum kv_op)cmd->op) && req->status == STATUS_OK)
		log_command(toy, cmd);
	op->sequence = toy->open.used > 0 ? toy->sequence : toy->sequence - 1;
	if (!writes((enum kv_op)cmd->op) && toy->bug == TOY_KV_DIRTY_READ)
		op->sequence = 0;
}

static void release(struct toy_kv *toy)
{
	struct req_list ready = STAILQ_HEAD_INITIALIZER(ready);
	struct req *req;

	STAILQ_CONCAT(&ready, &toy->waiting);
	while ((req = STAILQ_FIRST(&ready)) != NULL) {
		STAILQ_REMOVE_HEAD(&ready, link);
		executed(req);
	}
}

static void frame_flushed(struct req *req)
{
	struct toy_kv *toy = req_pop(req, struct toy_op)->toy;

	toy->busy = false;
	toy->dead = req->status != STATUS_OK;
	if (!toy->dead)
		toy->durable = toy->sequence - 1;
	release(toy);
}

static void frame_written(struct req *req)
{
	struct toy_kv *toy = req_pop(req, struct toy_op)->toy;

	if (req->status != STATUS_OK) {
		toy->busy = false;
		toy->dead = true;
		release(toy);
		return;
	}
	if (toy->bug == TOY_KV_ACK_EARLY) {
		toy->durable = toy->sequence - 1;
		release(toy);
	}
	submit_blk(toy, &(struct blk_cmd){ .op = BLK_FLUSH }, frame_flushed);
}

static uint32_t head_crc(const struct toy_head *head)
{
	size_t skipped = offsetof(struct toy_head, nonce);

	return crc32c(0, (const uint8_t *)head + skipped, sizeof(*head) - skipped + head->size);
}

static void settle(struct actor *actor)
{
	struct toy_kv *toy = container_of(actor, struct toy_kv, actor);
	struct toy_head *head = (void *)toy->open.data;
	struct toy_buffer flown = toy->flying;
	uint32_t blocks;

	if (toy->state == STORE_IS_CLOSING && STAILQ_EMPTY(&toy->waiting) && !toy->busy)
		toy->state = STORE_IS_CLOSED;
	if (toy->state != STORE_IS_OPEN || toy->busy || toy->dead || toy->open.used == 0)
		return;
	blocks = (uint32_t)((sizeof(*head) + toy->open.used + BLOCK - 1) / BLOCK);
	if (toy->block + blocks > toy->blk->geometry.block_count) {
		toy->dead = true;
		release(toy);
		return;
	}
	*head = (struct toy_head){ .magic = TOY_KV_MAGIC,
		                   .nonce = toy->nonce,
		                   .sequence = toy->sequence++,
		                   .size = toy->open.used };
	head->crc = head_crc(head);
	toy->flying = toy->open;
	toy->open = toy->late;
	toy->late = flown;
	toy->late.used = 0;
	toy->iov = (struct iovec){ toy->flying.data, (size_t)blocks * BLOCK };
	toy->busy = true;
	submit_blk(toy,
	           &(struct blk_cmd){ .op = BLK_WRITE,
	                              .lba = toy->block,
	                              .block_count = blocks,
	                              .iov_count = 1,
	                              .iov = &toy->iov },
	           frame_written);
	toy->block += blocks;
}

static void replay_read(struct toy_kv *toy, uint64_t size);

static void open_failed(struct toy_kv *toy, enum status status)
{
	toy->state = STORE_HAS_FAILED;
	toy->status = status;
}

static void recovery_flushed(struct req *req)
{
	struct toy_kv *toy = req_pop(req, struct toy_op)->toy;

	if (req->status != STATUS_OK) {
		open_failed(toy, req->status);
		return;
	}
	toy->durable = toy->sequence - 1;
	toy->state = STORE_IS_OPEN;
}

/* What was replayed may lie in the device's cache only, after a kill: not to be shown like that. */
static void replay_ended(struct toy_kv *toy)
{
	if (toy->bug != TOY_KV_UNFLUSHED_REPLAY) {
		submit_blk(toy, &(struct blk_cmd){ .op = BLK_FLUSH }, recovery_flushed);
		return;
	}
	toy->durable = toy->sequence - 1;
	toy->state = STORE_IS_OPEN;
}

static void replay_frame(struct toy_kv *toy, const struct toy_head *head)
{
	const uint8_t *at = (const uint8_t *)(head + 1), *end = at + head->size;

	while (at < end) {
		struct toy_entry entry;
		struct kv_entry record;

		memcpy(&entry, at, sizeof(entry));
		record = (struct kv_entry){
			.key = { at + sizeof(entry), entry.key_size },
			.value = { at + sizeof(entry) + entry.key_size, entry.value_size },
			.version = entry.version,
			.expires_ms = entry.expires_ms,
			.kind = (uint8_t)entry.kind,
		};
		if ((size_t)(end - at) < sizeof(entry) || entry.key_size > KV_KEY_MAX ||
		    (size_t)(end - at) < sizeof(entry) + entry.key_size + entry.value_size)
			return; /* only without a checksum */
		if (entry.version != 0) {
			if (toy->bug == TOY_KV_NEW_VERSIONS)
				record.version += 1000000;
			kv_mem_restore(toy->mem, &record);
		} else if (toy->bug != TOY_KV_LOST_DELETE) {
			kv_mem_remove(toy->mem, record.key);
		}
		at += sizeof(entry) + entry.key_size + entry.value_size;
	}
}

static void frame_read(struct req *req)
{
	struct toy_kv *toy = req_pop(req, struct toy_op)->toy;
	const struct toy_head *head = (const void *)toy->flying.data;

	if (req->status != STATUS_OK) {
		open_failed(toy, req->status);
		return;
	}
	if (head->magic == TOY_KV_MAGIC && head->nonce == toy->nonce &&
	    head->size <= FRAME_MAX - sizeof(*head) &&
	    head->size > toy->iov.iov_len - sizeof(*head) && toy->iov.iov_len == REPLAY_SIZE) {
		replay_read(toy, sizeof(*head) + head->size);
		return;
	}
	if (head->magic != TOY_KV_MAGIC || head->nonce != toy->nonce ||
	    head->sequence != toy->sequence || head->size > toy->iov.iov_len - sizeof(*head) ||
	    (toy->bug != TOY_KV_NO_CHECKSUM && head->crc != head_crc(head))) {
		replay_ended(toy);
		return;
	}
	replay_frame(toy, head);
	toy->sequence++;
	toy->block += (sizeof(*head) + head->size + BLOCK - 1) / BLOCK;
	replay_read(toy, REPLAY_SIZE);
}

/* The frame that comes next, or as much of it as `size`: its head says how much there is. */
static void replay_read(struct toy_kv *toy, uint64_t size)
{
	uint64_t left = toy->blk->geometry.block_count - toy->block;
	uint64_t wanted = (size + BLOCK - 1) / BLOCK;
	uint32_t blocks = (uint32_t)(wanted < left ? wanted : left);

	if (blocks == 0) {
		replay_ended(toy);
		return;
	}
	toy->iov = (struct iovec){ toy->flying.data, (size_t)blocks * BLOCK };
	submit_blk(toy,
	           &(struct blk_cmd){ .op = BLK_READ,
	                              .lba = toy->block,
	                              .block_count = blocks,
	                              .iov_count = 1,
	                              .iov = &toy->iov },
	           frame_read);
}

/* The nonce is on the disk, or has been read from it: replay starts behind it. */
static void nonce_known(struct req *req)
{
	struct toy_kv *toy = req_pop(req, struct toy_op)->toy;

	if (req->status != STATUS_OK) {
		open_failed(toy, req->status);
		return;
	}
	memcpy(&toy->nonce, toy->flying.data, sizeof(toy->nonce));
	toy->block = 1;
	toy->sequence = 1;
	replay_read(toy, REPLAY_SIZE);
}

static const struct kv_ops toy_ops = { .name = "toy", .submit = toy_submit };
static const struct actor_ops actor_ops = { .name = "toy", .settle = settle };

static void *toy_open(const struct store_env *env, enum toy_kv_bug bug)
{
	struct toy_kv *toy = calloc(1, sizeof(*toy));
	struct toy_buffer *buffers[] = { &toy->open, &toy->flying, &toy->late };

	assert(toy != NULL);
	for (unsigned i = 0; i < array_count(buffers); i++) {
		buffers[i]->data = aligned_alloc(BLOCK, FRAME_MAX);
		assert(buffers[i]->data != NULL);
		memset(buffers[i]->data, 0, BLOCK);
	}
	toy->bug = bug;
	toy->blk = env->blks[0];
	toy->mem = kv_mem_open(NULL);
	toy->mem_kv = kv_mem_attach(toy->mem, env->workers[0]);
	toy->kv = *toy->mem_kv;
	toy->kv.ops = &toy_ops;
	toy->kv.frames_size = (uint32_t)align_up(sizeof(struct toy_op), 16);
	toy->actor.ops = &actor_ops;
	STAILQ_INIT(&toy->waiting);
	worker_add_actor(env->workers[0], &toy->actor);
	toy->iov = (struct iovec){ toy->flying.data, BLOCK };
	memcpy(toy->flying.data, &env->seed, sizeof(env->seed));
	submit_blk(toy,
	           &(struct blk_cmd){ .op = env->format ? BLK_WRITE : BLK_READ,
	                              .flags = env->format ? BLK_FUA : 0,
	                              .block_count = 1,
	                              .iov_count = 1,
	                              .iov = &toy->iov },
	           nonce_known);
	return toy;
}

static enum store_state toy_state(void *store, enum status *status)
{
	struct toy_kv *toy = store;

	*status = toy->status;
	return toy->state;
}

static struct kv *toy_kv(void *store, unsigned worker)
{
	assert(worker == 0);
	return &((struct toy_kv *)store)->kv;
}

static void toy_close(void *store)
{
	((struct toy_kv *)store)->state = STORE_IS_CLOSING;
}

static void toy_abandon(void *store)
{
	struct toy_kv *toy = store;

	toy->mem_kv->ops->close(toy->mem_kv);
	kv_mem_abandon(toy->mem);
	free(toy->open.data);
	free(toy->flying.data);
	free(toy->late.data);
	free(toy);
}

#define X(name, text)                                                                              \
	static void *open_##name(const struct store_env *env)                                      \
	{                                                                                          \
		return toy_open(env, TOY_KV_##name);                                               \
	}
TOY_KV_BUGS(X)
#undef X

const struct store_binding *toy_kv_binding(enum toy_kv_bug bug)
{
	static const struct store_binding bindings[] = {
#define X(bug_name, text)                                                                          \
	{ .name = text,                                                                            \
	  .open = open_##bug_name,                                                                 \
	  .state = toy_state,                                                                      \
	  .kv = toy_kv,                                                                            \
	  .close = toy_close,                                                                      \
	  .abandon = toy_abandon },
		TOY_KV_BUGS(X)
#undef X
	};

	return &bindings[bug];
}

struct mem_store {
	struct kv_mem *mem;
	unsigned count;
	struct kv *kvs[SIM_WORKERS_MAX];
};

static void *mem_open(const struct store_env *env)
{
	struct mem_store *store = calloc(1, sizeof(*store));

	assert(store != NULL);
	store->mem =
	        kv_mem_open(&(struct kv_mem_options){ .seed = env->seed, .delay_ns_max = 5000000 });
	store->count = env->worker_count;
	for (unsigned i = 0; i < store->count; i++)
		store->kvs[i] = kv_mem_attach(store->mem, env->workers[i]);
	return store;
}

static enum store_state mem_state(void *store, enum status *status)
{
	(void)store;
	*status = STATUS_OK;
	return STORE_IS_OPEN;
}

static struct kv *mem_kv(void *store, unsigned worker)
{
	return ((struct mem_store *)store)->kvs[worker];
}

static void mem_close(void *store)
{
	(void)store;
}

static void mem_abandon(void *opaque)
{
	struct mem_store *store = opaque;

	for (unsigned i = 0; i < store->count; i++)
		store->kvs[i]->ops->close(store->kvs[i]);
	kv_mem_abandon(store->mem);
	free(store);
}

const struct store_binding *kv_mem_binding(void)
{
	static const struct store_binding binding = { .name = "memory",
		                                      .open = mem_open,
		                                      .state = mem_state,
		                                      .kv = mem_kv,
		                                      .close = mem_close,
		                                      .abandon = mem_abandon };

	return &binding;
}
