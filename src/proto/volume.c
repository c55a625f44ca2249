/* SPDX-License-Identifier: Apache-2.0 */
#include "proto/volume.h"

#include "base/assert.h"

void volume_submit(struct volume_set *set, struct req *req, const struct volume_cmd *cmd)
{
	enum status status;

	assert(req->worker == set->worker);
	assert(req->state != REQ_DONE);
	assert(req->frame_end + set->frames_size <= REQ_FRAMES_SIZE);
	assert(cmd->op < VOLUME_OP_COUNT);

	req->state = REQ_RUNNING;
	status = req_check(req);
	if (status != STATUS_OK) {
		req_complete(req, status, 0);
		return;
	}
	set->ops->submit(set, req, cmd);
}

const struct volume_info *volume_at(struct volume_set *set, uint32_t slot)
{
	assert(slot < VOLUMES_MAX);
	return set->ops->at(set, slot);
}
