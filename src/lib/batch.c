/* SPDX-License-Identifier: Apache-2.0 */
/* Batches: writes with their keys and values, copied into memory that was taken at open. */
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "lib/lib.h"

struct weir_batch {
	struct kv_write *writes;
	uint8_t *bytes;
	size_t used, size;
	uint32_t count, count_max;
};

enum weir_status weir_batch_open(struct weir_batch **out, unsigned writes_max, size_t bytes_max)
{
	struct weir_batch *batch = calloc(1, sizeof(*batch));

	*out = NULL;
	if (writes_max == 0 || writes_max > WEIR_BATCH_WRITES_MAX) {
		free(batch);
		return WEIR_INVALID;
	}
	if (batch == NULL)
		return WEIR_NO_SPACE;
	batch->count_max = writes_max;
	batch->size = bytes_max + writes_max; /* a byte each for the space */
	batch->writes = calloc(writes_max, sizeof(*batch->writes));
	batch->bytes = malloc(batch->size);
	if (batch->writes == NULL || batch->bytes == NULL) {
		weir_batch_close(batch);
		return WEIR_NO_SPACE;
	}
	*out = batch;
	return WEIR_OK;
}

void weir_batch_close(struct weir_batch *batch)
{
	free(batch->writes);
	free(batch->bytes);
	free(batch);
}

void weir_batch_reset(struct weir_batch *batch)
{
	batch->count = 0;
	batch->used = 0;
}

struct kv_commit lib_batch_commit(const struct weir_batch *batch)
{
	return (struct kv_commit){ .writes = batch->writes, .count = batch->count };
}

static enum weir_status add(struct weir_batch *batch, enum kv_op op, struct weir_key key,
                            struct weir_bytes value)
{
	uint8_t *at = batch->bytes + batch->used;
	struct kv_write *write = &batch->writes[batch->count];

	if (!lib_key_is_valid(key) || value.size > WEIR_BATCH_VALUE_MAX)
		return WEIR_INVALID;
	if (batch->count == batch->count_max ||
	    1 + key.size + value.size > batch->size - batch->used)
		return WEIR_TOO_LARGE;
	*write = (struct kv_write){ .op = (uint8_t)op };
	write->key =
	        bytes_of(at, lib_key(at, key.space, (struct weir_bytes){ key.data, key.size }));
	at += write->key.size;
	if (value.size > 0)
		memcpy(at, value.data, value.size);
	write->value = bytes_of(at, value.size);
	batch->used += write->key.size + value.size;
	batch->count++;
	assert(batch->used <= batch->size);
	return WEIR_OK;
}

enum weir_status weir_batch_put(struct weir_batch *batch, struct weir_key key,
                                struct weir_bytes value)
{
	return add(batch, KV_PUT, key, value);
}

enum weir_status weir_batch_delete(struct weir_batch *batch, struct weir_key key)
{
	return add(batch, KV_DELETE, key, (struct weir_bytes){ NULL, 0 });
}

enum weir_status weir_batch_check(struct weir_batch *batch, struct weir_key key, uint64_t version)
{
	enum weir_status status = add(batch, KV_GET, key, (struct weir_bytes){ NULL, 0 });

	if (status == WEIR_OK) {
		batch->writes[batch->count - 1].flags = KV_IF_VERSION;
		batch->writes[batch->count - 1].version = version;
	}
	return status;
}
