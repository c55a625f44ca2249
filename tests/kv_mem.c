/* SPDX-License-Identifier: Apache-2.0 */
#include "kv_mem.h"

#include <stdlib.h>

#include "base/assert.h"
#include "base/macros.h"
#include "base/prng.h"
#include "core/worker.h"
#include "kv_mem_table.h"

enum {
	PARTITIONS_DEFAULT = 64,
	HANDLES_MAX = 4096,
	PREPARED_MAX = 64,
	BLOB_PIECE_ALIGN = 4096,
};

struct handle {
	struct value *value; /* NULL: free */
	bool writing;
	uint32_t life; /* grows with every use of the slot: a stale handle is told */
};

struct prepared {
	uint64_t txn; /* 0: free */
	struct kv_write *writes;
	uint32_t count;
};

/* A command that has not completed. */
struct op {
	struct frame frame;
	TAILQ_ENTRY(op) link; /* in waiting, until it has taken effect */
	struct timer timer;
	struct kv_mem *mem;
	struct req *req;
	struct kv_cmd cmd;
	enum status status;
	uint64_t result;
};

struct kv_mem {
	struct table table;
	uint64_t delay_ns_max;
	unsigned partitions;
	struct prng prng;
	struct kv_mem_fault fault;
	struct kv_mem_stats stats;
	struct handle handles[HANDLES_MAX];
	struct prepared prepared[PREPARED_MAX];
	TAILQ_HEAD(, op) waiting; /* in the order of submission */
	uint8_t *scratch;
	size_t scratch_size;
};

struct port {
	struct kv kv;
	struct kv_mem *mem;
};

static struct handle *handle_find(struct kv_mem *mem, uint64_t number)
{
	uint32_t index = (uint32_t)number - 1;

	assert(index < HANDLES_MAX);
	assert(mem->handles[index].value != NULL); /* else: used after BLOB_CLOSE or PUT */
	assert(mem->handles[index].life == number >> 32);
	return &mem->handles[index];
}

/* 0: none is free. */
static uint64_t handle_take(struct kv_mem *mem, struct value *value, bool writing)
{
	for (uint32_t i = 0; i < HANDLES_MAX; i++) {
		struct handle *handle = &mem->handles[i];

		if (handle->value != NULL)
			continue;
		handle->value = value;
		handle->writing = writing;
		handle->life++;
		mem->stats.handles_open++;
		return (uint64_t)handle->life << 32 | (i + 1);
	}
	return 0;
}

/* Returns the value, whose ref is now the caller's. */
static struct value *handle_drop(struct kv_mem *mem, uint64_t number)
{
	struct handle *handle = handle_find(mem, number);
	struct value *value = handle->value;

	assert(mem->stats.handles_open > 0);
	handle->value = NULL;
	mem->stats.handles_open--;
	return value;
}

static struct value *handle_finish(struct kv_mem *mem, uint64_t number)
{
	assert(handle_find(mem, number)->writing); /* else: of a BLOB_OPEN */
	return handle_drop(mem, number);
}

static bool is_locked(const struct kv_mem *mem, struct bytes key)
{
	if (mem->stats.prepared == 0)
		return false;
	for (unsigned i = 0; i < PREPARED_MAX; i++) {
		for (uint32_t n = 0; n < mem->prepared[i].count; n++) {
			if (bytes_equal(mem->prepared[i].writes[n].key, key))
				return true;
		}
	}
	return false;
}

static uint64_t version_of(struct kv_mem *mem, struct bytes key)
{
	const struct record *record = record_find(&mem->table, key);

	return record == NULL ? 0 : record->version;
}

static enum status do_get(struct kv_mem *mem, const struct kv_cmd *cmd, uint64_t *result)
{
	const struct record *record = record_find(&mem->table, cmd->key);

	if (cmd->visit != NULL) {
		struct kv_entry entry = record_entry(record, cmd->key, cmd->flags & KV_LOAD);

		entry.expired = record == NULL && record_expired(&mem->table, cmd->key) != NULL;
		cmd->visit(cmd->visitor, &entry, NULL);
	}
	*result = record == NULL ? 0 : record->version;
	return STATUS_OK;
}

static enum status do_put(struct kv_mem *mem, const struct kv_cmd *cmd, uint64_t *result)
{
	const struct record *old = record_find(&mem->table, cmd->key);
	uint64_t expires_ms = cmd->expires_ms;
	struct value *value;

	if (is_locked(mem, cmd->key))
		return STATUS_BUSY;
	*result = old == NULL ? 0 : old->version;
	if ((cmd->flags & KV_IF_VERSION) && *result != cmd->version)
		return STATUS_CONFLICT;
	if (cmd->flags & KV_KEEP_EXPIRY)
		expires_ms = old == NULL ? 0 : old->expires_ms;
	value = cmd->flags & KV_FROM_BLOB ? handle_finish(mem, cmd->handle)
	                                  : value_take(cmd->value, false);
	*result = record_store(&mem->table, cmd->key, value, expires_ms, cmd->kind)->version;
	return STATUS_OK;
}

static enum status do_delete(struct kv_mem *mem, const struct kv_cmd *cmd, uint64_t *result)
{
	const struct record *old = record_find(&mem->table, cmd->key);

	if (is_locked(mem, cmd->key))
		return STATUS_BUSY;
	*result = old == NULL ? 0 : old->version;
	if ((cmd->flags & KV_IF_VERSION) && *result != cmd->version)
		return STATUS_CONFLICT;
	*result = old != NULL;
	if (old != NULL)
		record_remove(&mem->table, (size_t)(old - mem->table.records));
	return STATUS_OK;
}

static uint8_t *scratch_of(struct kv_mem *mem, size_t size)
{
	if (size > mem->scratch_size) {
		free(mem->scratch);
		mem->scratch = take(size);
		mem->scratch_size = size;
	}
	return mem->scratch;
}

static enum status do_update(struct kv_mem *mem, const struct kv_cmd *cmd, uint64_t *result)
{
	const struct record *old = record_find(&mem->table, cmd->key);
	struct kv_entry entry = record_entry(old, cmd->key, cmd->flags & KV_LOAD);
	struct kv_edit edit = { .action = KV_KEEP, .status = STATUS_OK };
	struct record *expired = old == NULL ? record_expired(&mem->table, cmd->key) : NULL;

	if (is_locked(mem, cmd->key))
		return STATUS_BUSY;
	edit.scratch_max = KV_INLINE_MAX;
	if ((cmd->flags & KV_LOAD) && entry.size * 2 > edit.scratch_max)
		edit.scratch_max = entry.size * 2;
	edit.scratch = scratch_of(mem, edit.scratch_max);
	entry.expired = expired != NULL;
	cmd->visit(cmd->visitor, &entry, &edit);
	*result = entry.version;
	if (edit.status != STATUS_OK || edit.action == KV_KEEP)
		return edit.status;
	if (edit.action == KV_REMOVE) {
		if (old != NULL || expired != NULL)
			record_remove(&mem->table,
			              (size_t)((old != NULL ? old : expired) - mem->table.records));
		*result = 0;
		return STATUS_OK;
	}
	if (edit.action == KV_TOUCH) {
		assert(old != NULL);
		entry = record_entry(old, cmd->key, true);
		edit.value = entry.value;
		edit.kind = entry.kind;
	}
	edit.scratch_max = edit.action == KV_TOUCH ? edit.value.size : edit.scratch_max;
	assert(edit.value.size <= edit.scratch_max);
	*result = record_store(&mem->table, cmd->key,
	                       value_take(edit.value, edit.value.size > KV_INLINE_MAX),
	                       edit.expires_ms, edit.kind)
	                  ->version;
	return STATUS_OK;
}

static enum status check_writes(struct kv_mem *mem, const struct kv_commit *commit,
                                uint64_t *result)
{
	for (uint32_t i = 0; i < commit->count; i++) {
		const struct kv_write *write = &commit->writes[i];
		uint64_t version = version_of(mem, write->key);

		assert(write->op == KV_PUT || write->op == KV_DELETE || write->op == KV_GET);
		*result = version;
		if (is_locked(mem, write->key))
			return STATUS_CONFLICT;
		if (!(write->flags & KV_IF_VERSION))
			continue;
		assert(!(write->flags & KV_FROM_BLOB)); /* else: version is the handle */
		if (version != write->version)
			return STATUS_CONFLICT;
	}
	return STATUS_OK;
}

/* Returns how many were applied. */
static uint64_t apply_writes(struct kv_mem *mem, const struct kv_write *writes, uint32_t count)
{
	uint64_t applied = 0;

	for (uint32_t i = 0; i < count; i++) {
		const struct kv_write *write = &writes[i];
		struct record *old = record_find(&mem->table, write->key);
		uint64_t expires_ms = write->expires_ms;

		if (write->op == KV_GET)
			continue;
		applied++;
		if (write->op == KV_DELETE) {
			if (old != NULL)
				record_remove(&mem->table, (size_t)(old - mem->table.records));
			continue;
		}
		if (write->flags & KV_KEEP_EXPIRY)
			expires_ms = old == NULL ? 0 : old->expires_ms;
		record_store(&mem->table, write->key,
		             write->flags & KV_FROM_BLOB ? handle_finish(mem, write->version)
		                                         : value_take(write->value, false),
		             expires_ms, write->kind);
	}
	return applied;
}

static enum status do_commit(struct kv_mem *mem, const struct kv_cmd *cmd, uint64_t *result)
{
	enum status status = check_writes(mem, cmd->commit, result);

	if (status == STATUS_OK)
		*result = apply_writes(mem, cmd->commit->writes, cmd->commit->count);
	return status;
}

static struct bytes copy_bytes(struct bytes bytes)
{
	uint8_t *data = take(bytes.size);

	if (bytes.size > 0)
		memcpy(data, bytes.data, bytes.size);
	return bytes_of(data, bytes.size);
}

static enum status do_prepare(struct kv_mem *mem, const struct kv_cmd *cmd, uint64_t *result)
{
	enum status status = check_writes(mem, cmd->commit, result);
	struct prepared *prepared = NULL;

	assert(cmd->version != 0);
	if (status != STATUS_OK)
		return status;
	for (unsigned i = 0; i < PREPARED_MAX; i++) {
		assert(mem->prepared[i].txn != cmd->version); /* else: prepared twice */
		if (mem->prepared[i].txn == 0)
			prepared = &mem->prepared[i];
	}
	if (prepared == NULL)
		return STATUS_BUSY;
	prepared->txn = cmd->version;
	prepared->count = cmd->commit->count;
	prepared->writes = take(prepared->count * sizeof(*prepared->writes));
	for (uint32_t i = 0; i < prepared->count; i++) {
		prepared->writes[i] = cmd->commit->writes[i];
		prepared->writes[i].key = copy_bytes(cmd->commit->writes[i].key);
		prepared->writes[i].value = copy_bytes(cmd->commit->writes[i].value);
	}
	mem->stats.prepared++;
	*result = 0;
	return STATUS_OK;
}

static void prepared_free(struct kv_mem *mem, struct prepared *prepared)
{
	assert(mem->stats.prepared > 0);
	for (uint32_t i = 0; i < prepared->count; i++) {
		free((void *)(uintptr_t)prepared->writes[i].key.data);
		free((void *)(uintptr_t)prepared->writes[i].value.data);
	}
	free(prepared->writes);
	*prepared = (struct prepared){ 0 };
	mem->stats.prepared--;
}

static enum status do_resolve(struct kv_mem *mem, const struct kv_cmd *cmd, uint64_t *result)
{
	for (unsigned i = 0; i < PREPARED_MAX; i++) {
		struct prepared *prepared = &mem->prepared[i];

		if (prepared->txn != cmd->version)
			continue;
		if (cmd->limit == 1)
			*result = apply_writes(mem, prepared->writes, prepared->count);
		prepared_free(mem, prepared);
		return STATUS_OK;
	}
	return STATUS_NOT_FOUND;
}

static bool scan_wants(const struct kv_mem *mem, const struct kv_cmd *cmd,
                       const struct record *record)
{
	if (record_is_expired(&mem->table, record))
		return false;
	return !(cmd->flags & KV_SCAN_PARTITION) ||
	       kv_partition(record->key, mem->partitions) == cmd->partition;
}

static enum status do_scan(struct kv_mem *mem, const struct kv_cmd *cmd, uint64_t *result)
{
	size_t first = table_lower_bound(&mem->table, cmd->key), last = mem->table.count;
	bool reverse = cmd->flags & KV_REVERSE;

	if (cmd->end.size > 0) {
		last = table_lower_bound(&mem->table, cmd->end);
	} else if (cmd->key.data[0] < UINT8_MAX) {
		uint8_t next_space = (uint8_t)(cmd->key.data[0] + 1);

		last = table_lower_bound(&mem->table, bytes_of(&next_space, 1));
	}
	*result = 0;
	while (first < last && *result < cmd->limit) {
		const struct record *record = &mem->table.records[reverse ? --last : first++];
		struct kv_entry entry = record_entry(record, record->key, cmd->flags & KV_LOAD);

		if (!scan_wants(mem, cmd, record))
			continue;
		if (cmd->flags & KV_KEYS_ONLY)
			entry = (struct kv_entry){ .key = record->key, .kind = entry.kind };
		cmd->visit(cmd->visitor, &entry, NULL);
		++*result;
	}
	return STATUS_OK;
}

static enum status do_clear(struct kv_mem *mem, const struct kv_cmd *cmd, uint64_t *result)
{
	size_t index = table_lower_bound(&mem->table, cmd->key);

	*result = 0;
	while (index < mem->table.count && mem->table.records[index].key.size >= cmd->key.size &&
	       memcmp(mem->table.records[index].key.data, cmd->key.data, cmd->key.size) == 0) {
		*result += !record_is_expired(&mem->table, &mem->table.records[index]);
		record_remove(&mem->table, index);
	}
	return STATUS_OK;
}

static enum status do_count(const struct kv_mem *mem, const struct kv_cmd *cmd, uint64_t *result)
{
	*result = 0;
	for (size_t i = table_lower_bound(&mem->table, bytes_of(cmd->key.data, 1));
	     i < mem->table.count && mem->table.records[i].key.data[0] == cmd->key.data[0]; i++)
		*result += !record_is_expired(&mem->table, &mem->table.records[i]);
	return STATUS_OK;
}

static enum status do_blob_write(struct kv_mem *mem, const struct kv_cmd *cmd, uint64_t *result)
{
	struct value *value;

	*result = cmd->handle;
	if (cmd->handle == 0) {
		value = value_take((struct bytes){ 0 }, true);
		*result = handle_take(mem, value, true);
		if (*result == 0) {
			value_unref(value);
			return STATUS_BUSY;
		}
	}
	assert(handle_find(mem, *result)->writing);
	value = handle_find(mem, *result)->value;
	assert(value->size % BLOB_PIECE_ALIGN == 0); /* else: a piece after the last */
	if (value->size + cmd->value.size > KV_VALUE_MAX)
		return STATUS_TOO_LARGE;
	if (value->size + cmd->value.size > value->room) {
		value->room = (value->size + cmd->value.size) * 2;
		value->data = realloc(value->data, value->room);
		assert(value->data != NULL);
	}
	if (cmd->value.size > 0)
		memcpy(value->data + value->size, cmd->value.data, cmd->value.size);
	value->size += cmd->value.size;
	return STATUS_OK;
}

static enum status do_blob_open(struct kv_mem *mem, const struct kv_cmd *cmd, uint64_t *result)
{
	const struct record *record = record_find(&mem->table, cmd->key);

	*result = 0;
	if (record != NULL) {
		*result = handle_take(mem, record->value, false);
		if (*result == 0)
			return STATUS_BUSY;
		record->value->refs++;
	}
	if (cmd->visit != NULL) {
		struct kv_entry entry = record_entry(record, cmd->key, false);

		cmd->visit(cmd->visitor, &entry, NULL);
	}
	return STATUS_OK;
}

static enum status do_blob_read(struct kv_mem *mem, const struct kv_cmd *cmd, uint64_t *result)
{
	const struct value *value = handle_find(mem, cmd->handle)->value;
	uint64_t left = cmd->offset < value->size ? value->size - cmd->offset : 0;

	*result = left < cmd->out_size ? left : cmd->out_size;
	if (*result > 0)
		memcpy(cmd->out, value->data + cmd->offset, *result);
	return STATUS_OK;
}

/* There is no sweep: what has expired is removed when it is told. */
static uint64_t do_expired(struct kv_mem *mem, const struct kv_cmd *cmd)
{
	uint64_t size = 0;
	size_t index = 0;

	while (index < mem->table.count) {
		const struct record *record = &mem->table.records[index];

		if (!record_is_expired(&mem->table, record)) {
			index++;
			continue;
		}
		if (cmd->out_size - size < 2 + record->key.size)
			break;
		cmd->out[size++] = (uint8_t)record->key.size;
		cmd->out[size++] = (uint8_t)(record->key.size >> 8);
		memcpy(cmd->out + size, record->key.data, record->key.size);
		size += record->key.size;
		record_remove(&mem->table, index);
	}
	return size;
}

static bool is_read(enum kv_op op)
{
	return op == KV_GET || op == KV_SCAN || op == KV_COUNT || op == KV_BLOB_OPEN ||
	       op == KV_BLOB_READ;
}

/* Whether the fault of the test strikes this command. BLOB_CLOSE and RESOLVE never fail. */
static bool fault_strikes(struct kv_mem *mem, enum kv_op op)
{
	struct kv_mem_fault *fault = &mem->fault;

	if (fault->count == 0 || op == KV_BLOB_CLOSE || op == KV_RESOLVE)
		return false;
	if (is_read(op) && !fault->reads)
		return false;
	if (fault->skip > 0) {
		fault->skip--;
		return false;
	}
	if (fault->count != UINT32_MAX)
		fault->count--;
	return true;
}

static enum status execute(struct kv_mem *mem, const struct kv_cmd *cmd, uint64_t *result)
{
	*result = 0;
	if (fault_strikes(mem, (enum kv_op)cmd->op))
		return mem->fault.status;
	switch ((enum kv_op)cmd->op) {
	case KV_GET:
		return do_get(mem, cmd, result);
	case KV_PUT:
		return do_put(mem, cmd, result);
	case KV_DELETE:
		return do_delete(mem, cmd, result);
	case KV_UPDATE:
		return do_update(mem, cmd, result);
	case KV_COMMIT:
		return do_commit(mem, cmd, result);
	case KV_SCAN:
		return do_scan(mem, cmd, result);
	case KV_CLEAR:
		return do_clear(mem, cmd, result);
	case KV_COUNT:
		return do_count(mem, cmd, result);
	case KV_BLOB_WRITE:
		return do_blob_write(mem, cmd, result);
	case KV_BLOB_OPEN:
		return do_blob_open(mem, cmd, result);
	case KV_BLOB_READ:
		return do_blob_read(mem, cmd, result);
	case KV_BLOB_CLOSE:
		value_unref(handle_drop(mem, cmd->handle));
		return STATUS_OK;
	case KV_PREPARE:
		return do_prepare(mem, cmd, result);
	case KV_RESOLVE:
		return do_resolve(mem, cmd, result);
	case KV_SYNC:
		*result = 0;
		return STATUS_OK;
	case KV_EXPIRED:
		*result = do_expired(mem, cmd);
		return STATUS_OK;
	case KV_OP_COUNT:
		break;
	}
	unreachable();
}

static void op_finished(struct req *req)
{
	(void)req;
	unreachable(); /* an op is popped before its request completes */
}

static void op_complete(struct timer *timer)
{
	struct op *op = container_of(timer, struct op, timer);
	enum status status = op->status;
	uint64_t result = op->result;
	struct req *req = op->req;

	op->mem->stats.in_flight--;
	(void)req_pop(req, struct op);
	req_complete(req, status, result);
}

static void op_arm(struct op *op, timer_fn *fire)
{
	struct worker *worker = op->req->worker;
	uint64_t wait_ns = prng_below(&op->mem->prng, op->mem->delay_ns_max + 1);

	timer_arm(&worker->timers, &op->timer, worker->now_ns + wait_ns, fire);
}

/* What was submitted before it takes effect before it. */
static void op_execute(struct timer *timer)
{
	struct op *last = container_of(timer, struct op, timer), *op;
	struct kv_mem *mem = last->mem;

	do {
		op = TAILQ_FIRST(&mem->waiting);
		assert(op != NULL);
		TAILQ_REMOVE(&mem->waiting, op, link);
		timer_cancel(&op->req->worker->timers, &op->timer);
		mem->table.now_ms = last->req->worker->wall_ms;
		op->status = execute(mem, &op->cmd, &op->result);
		op_arm(op, op_complete);
	} while (op != last);
}

static void port_submit(struct kv *kv, struct req *req, const struct kv_cmd *cmd)
{
	struct kv_mem *mem = container_of(kv, struct port, kv)->mem;
	struct op *op;

	mem->stats.commands++;
	if (mem->delay_ns_max == 0) {
		uint64_t result;
		enum status status;

		mem->table.now_ms = kv->worker->wall_ms;
		status = execute(mem, cmd, &result);
		req_complete(req, status, result);
		return;
	}
	op = req_push(req, struct op, op_finished);
	op->mem = mem;
	op->req = req;
	op->cmd = *cmd;
	op->timer = (struct timer){ 0 };
	mem->stats.in_flight++;
	TAILQ_INSERT_TAIL(&mem->waiting, op, link);
	op_arm(op, op_execute);
}

static void port_close(struct kv *kv)
{
	free(container_of(kv, struct port, kv));
}

static const struct kv_ops port_ops = { .name = "mem", .submit = port_submit, .close = port_close };

struct kv_mem *kv_mem_open(const struct kv_mem_options *options)
{
	struct kv_mem *mem = take(sizeof(*mem));

	if (options != NULL) {
		mem->delay_ns_max = options->delay_ns_max;
		mem->partitions = options->partitions;
	}
	prng_init(&mem->prng, options == NULL ? 0 : options->seed);
	if (mem->partitions == 0)
		mem->partitions = PARTITIONS_DEFAULT;
	TAILQ_INIT(&mem->waiting);
	return mem;
}

struct kv *kv_mem_attach(struct kv_mem *mem, struct worker *worker)
{
	struct port *port = take(sizeof(*port));

	port->mem = mem;
	port->kv = (struct kv){
		.ops = &port_ops,
		.worker = worker,
		.traits = {
			.partitions = mem->partitions,
			.engines = 1,
			.sorted = true,
			.transactional = true,
		},
		.frames_size =
		        mem->delay_ns_max == 0 ? 0 : (uint32_t)align_up(sizeof(struct op), 16),
	};
	return &port->kv;
}

void kv_mem_abandon(struct kv_mem *mem)
{
	for (unsigned i = 0; i < HANDLES_MAX; i++) {
		if (mem->handles[i].value != NULL)
			value_unref(mem->handles[i].value);
	}
	for (unsigned i = 0; i < PREPARED_MAX; i++) {
		if (mem->prepared[i].txn != 0)
			prepared_free(mem, &mem->prepared[i]);
	}
	while (mem->table.count > 0)
		record_remove(&mem->table, mem->table.count - 1);
	free(mem->table.records);
	free(mem->scratch);
	free(mem);
}

void kv_mem_close(struct kv_mem *mem)
{
	assert(mem->stats.in_flight == 0);
	assert(mem->stats.handles_open == 0); /* else: a blob handle was not closed */
	kv_mem_abandon(mem);
}

void kv_mem_fail(struct kv_mem *mem, const struct kv_mem_fault *fault)
{
	assert(fault->count == 0 || fault->status != STATUS_OK);
	mem->fault = *fault;
}

void kv_mem_stats(const struct kv_mem *mem, struct kv_mem_stats *out)
{
	*out = mem->stats;
	out->keys = mem->table.count;
	out->bytes = 0;
	for (size_t i = 0; i < mem->table.count; i++)
		out->bytes += mem->table.records[i].value->size;
}

struct kv_entry kv_mem_peek(struct kv_mem *mem, struct bytes key)
{
	return record_entry(record_find(&mem->table, key), key, true);
}

void kv_mem_restore(struct kv_mem *mem, const struct kv_entry *entry)
{
	struct record *record =
	        record_store(&mem->table, entry->key,
	                     value_take(entry->value, entry->value.size > KV_INLINE_MAX),
	                     entry->expires_ms, entry->kind);

	record->version = entry->version;
	if (entry->version > mem->table.version)
		mem->table.version = entry->version;
}

void kv_mem_remove(struct kv_mem *mem, struct bytes key)
{
	const struct record *record = record_find(&mem->table, key);

	if (record != NULL)
		record_remove(&mem->table, (size_t)(record - mem->table.records));
}
