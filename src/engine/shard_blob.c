/* SPDX-License-Identifier: Apache-2.0 */
/* Values that do not fit a record. */
#include "base/assert.h"
#include "engine/shard.h"

enum status blobs_open(struct shard *shard)
{
	(void)shard;
	return STATUS_OK;
}

void blobs_close(struct shard *shard)
{
	(void)shard;
}

enum op_result op_blob(struct req *req)
{
	return op_finish(req, STATUS_UNSUPPORTED, 0);
}

enum status blob_take(struct shard *shard, uint64_t handle, struct record *record)
{
	(void)shard;
	(void)handle;
	(void)record;
	return STATUS_UNSUPPORTED;
}

void blob_credit(struct shard *shard, struct bytes value)
{
	(void)shard;
	(void)value;
}

void blob_debit(struct shard *shard, struct bytes value)
{
	(void)shard;
	(void)value;
}

void blob_free_later(struct shard *shard, uint64_t location)
{
	(void)shard;
	(void)location;
}

enum op_result blob_for_update(struct req *req, struct found *found, struct kv_edit *edit)
{
	(void)found;
	(void)edit;
	op_finish(req, STATUS_UNSUPPORTED, 0);
	return OP_PARKED;
}

void blob_update_done(struct req *req)
{
	(void)req;
}

void blob_segment_ready(struct shard *shard, uint32_t segment, uint64_t generation)
{
	(void)shard;
	(void)segment;
	(void)generation;
}
