/* SPDX-License-Identifier: Apache-2.0 */
#include "proto/stream.h"

#include "base/assert.h"
#include "core/worker.h"

void stream_send(struct stream *stream, struct req *req, const struct stream_cmd *cmd)
{
	assert(req->worker == stream->worker);
	assert(!stream->closed);
	assert(!stream->sending);
	assert(cmd->iov_count > 0 && cmd->iov_count <= STREAM_IOV_MAX);

	req->state = REQ_RUNNING;
	stream->sending = true; /* the transport clears it before it completes the request */
	stream->ops->send(stream, req, cmd);
}

void stream_pause(struct stream *stream, bool paused)
{
	assert(!stream->closed);
	stream->ops->pause(stream, paused);
}

void stream_close(struct stream *stream)
{
	assert(!stream->closed);
	stream->closed = true;
	stream->ops->close(stream);
}
