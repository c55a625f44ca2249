/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The device: commands become NVMe commands on one of the I/O queues, or wait. A connection that is
 * lost takes the others with it; then all begins anew.
 */
#include "transport/nvme_host.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "core/log.h"
#include "transport/nvme_host_internal.h"

enum {
	DEPTH_DEFAULT = 128,
	DAMAGED_MAX = 5, /* attempts at data that comes damaged */
	LATER_MAX = 100, /* at a command that the controller wants later, a tick apart */
	BACKOFF_DOUBLINGS_MAX = 16,
};
#define SECOND_NS 1000000000ull
#define KEEP_ALIVE_DEFAULT_NS (10 * SECOND_NS)
#define TIMEOUT_DEFAULT_NS (30 * SECOND_NS)
#define LOSS_DEFAULT_NS (60 * SECOND_NS)
#define BACKOFF_DEFAULT_NS (SECOND_NS / 10)
#define BACKOFF_MAX_DEFAULT_NS (2 * SECOND_NS)

static struct nvme_host *host_of(const struct blk *blk)
{
	return container_of((struct blk *)(uintptr_t)blk, struct nvme_host, blk);
}

static uint64_t now_ns(const struct nvme_host *host)
{
	return host->options.worker->now_ns;
}

/* Commands that wait. */

static void finish(struct req *req, enum status status)
{
	req_pop(req, struct host_frame);
	req_complete(req, status, 0);
}

void host_requeue(struct nvme_host *host, struct req *req)
{
	assert(req->worker == host->options.worker);
	STAILQ_INSERT_TAIL(&host->waiting, req, link);
	host_kick(host);
}

static void fill_command(struct nvme_host *host, struct host_slot *slot, const struct blk_cmd *cmd)
{
	struct nvme_sqe *sqe = &slot->sqe;

	assert(host->facts_given && slot->kind == SLOT_BLOCK);
	sqe->nsid = host->options.nsid;
	slot->iov = cmd->iov;
	slot->iov_count = cmd->iov_count;
	slot->data_size = cmd->block_count * host->blk.geometry.block_size;
	sqe->cdw10 = (uint32_t)cmd->lba;
	sqe->cdw11 = (uint32_t)(cmd->lba >> 32);
	sqe->cdw12 = (cmd->block_count - 1) & 0xffff;
	switch (cmd->op) {
	case BLK_READ:
		sqe->opcode = NVME_READ;
		return;
	case BLK_WRITE:
		sqe->opcode = NVME_WRITE;
		slot->writes = true;
		if (cmd->flags & BLK_FUA)
			sqe->cdw12 |= NVME_CDW12_FUA;
		return;
	case BLK_FLUSH:
		sqe->opcode = NVME_FLUSH;
		slot->data_size = slot->iov_count = 0;
		sqe->cdw10 = sqe->cdw11 = sqe->cdw12 = 0;
		return;
	case BLK_DISCARD:
		sqe->opcode = NVME_DATASET_MANAGEMENT;
		slot->range =
		        (struct nvme_dsm_range){ .block_count = cmd->block_count, .lba = cmd->lba };
		slot->own = (struct iovec){ &slot->range, sizeof(slot->range) };
		slot->iov = &slot->own;
		slot->iov_count = 1;
		slot->data_size = sizeof(slot->range);
		slot->writes = true;
		sqe->cdw10 = 0;
		sqe->cdw11 = NVME_DSM_DEALLOCATE;
		sqe->cdw12 = 0;
		return;
	case BLK_ZEROES:
		sqe->opcode = NVME_WRITE_ZEROES;
		slot->data_size = slot->iov_count = 0;
		if (cmd->flags & BLK_FUA)
			sqe->cdw12 |= NVME_CDW12_FUA;
		if (cmd->flags & BLK_UNMAP)
			sqe->cdw12 |= NVME_CDW12_DEALLOCATE;
		return;
	case BLK_OP_COUNT:
		break;
	}
	unreachable();
}

/* The next queue that has room, one after the other. */
static struct host_slot *slot_take(struct nvme_host *host, struct host_queue **out)
{
	for (unsigned i = 0; i < host->options.queues; i++) {
		struct host_queue *queue = &host->queues[1 + host->next_queue];
		struct host_slot *slot;

		host->next_queue = (host->next_queue + 1) % host->options.queues;
		slot = queue->state == QUEUE_LIVE && queue->in_flight < queue->limit
		               ? host_slot_get(queue, SLOT_BLOCK)
		               : NULL;
		if (slot != NULL) {
			*out = queue;
			return slot;
		}
	}
	return NULL;
}

static void pump(struct nvme_host *host)
{
	struct req *req;

	while (host->state == HOST_READY && host->accessible && now_ns(host) >= host->pause_ns &&
	       (req = STAILQ_FIRST(&host->waiting)) != NULL) {
		struct host_queue *queue;
		struct host_slot *slot = slot_take(host, &queue);
		enum status status = req_check(req);

		if (slot == NULL)
			return;
		STAILQ_REMOVE_HEAD(&host->waiting, link);
		if (status != STATUS_OK) {
			host_slot_release(queue, slot);
			finish(req, status);
			continue;
		}
		slot->req = req;
		fill_command(host, slot, &req_top(req, struct host_frame)->cmd);
		host->stats.commands++;
		host_slot_submit(queue, slot);
	}
}

static void kicked(struct req *req)
{
	struct nvme_host *host = container_of(req, struct nvme_host, kick);

	assert(host->kicked);
	host->kicked = false;
	pump(host);
	for (unsigned i = 0; i <= host->options.queues; i++)
		host_queue_send(&host->queues[i]);
}

/* Later in this turn, so that what the turn produces goes out together. */
void host_kick(struct nvme_host *host)
{
	if (host->kicked)
		return;
	host->kicked = true;
	worker_send(host->options.worker, &host->kick, kicked);
}

static void never_done(struct req *req)
{
	(void)req;
	unreachable(); /* nothing is below this frame */
}

static void host_submit(struct blk *blk, struct req *req, const struct blk_cmd *cmd)
{
	struct nvme_host *host = host_of(blk);
	struct host_frame *frame = req_push(req, struct host_frame, never_done);

	assert(host->state != HOST_STOPPED);
	frame->cmd = *cmd;
	frame->since_ns = now_ns(host);
	frame->attempts = 0;
	host_requeue(host, req);
}

/*
 * Whether a command that failed so is worth another try, on this connection or the next. A
 * controller that says "later" is given a while.
 */
static bool may_go_again(struct nvme_host *host, const struct host_slot *slot)
{
	struct host_frame *frame = req_top(slot->req, struct host_frame);

	if (host->state == HOST_STOPPED || now_ns(host) - frame->since_ns > host->options.loss_ns)
		return false;
	if (!slot->answered)
		return host->options.loss == NVME_HOST_REDRIVE;
	if (slot->damaged)
		return ++frame->attempts < DAMAGED_MAX;
	if (slot->status & NVME_STATUS_DO_NOT_RETRY)
		return false;
	switch (slot->status & NVME_STATUS_CODE) {
	case NVME_SC_TRANSIENT_TRANSPORT:
		return ++frame->attempts < DAMAGED_MAX;
	case NVME_SC_ANA_INACCESSIBLE:
	case NVME_SC_ANA_TRANSITION:
	case NVME_SC_ABORTED_QUEUE_DELETED:
		return true;
	case NVME_SC_COMMAND_INTERRUPTED:
	case NVME_SC_NAMESPACE_NOT_READY:
		host->pause_ns = now_ns(host) + HOST_TICK_NS;
		return ++frame->attempts < LATER_MAX;
	default:
		return false;
	}
}

static enum status status_of(const struct host_slot *slot)
{
	if (!slot->answered)
		return STATUS_UNAVAILABLE;
	if (slot->damaged)
		return STATUS_CORRUPT;
	if (slot->status == NVME_SC_SUCCESS && !slot->writes && slot->received != slot->data_size)
		return STATUS_IO; /* success, and not all of the data */
	return nvme_status_to(slot->status);
}

/* A status that says that this path does not lead to the namespace now: see what the log says. */
static bool is_ana(uint16_t status)
{
	uint16_t code = status & NVME_STATUS_CODE;

	return code == NVME_SC_ANA_INACCESSIBLE || code == NVME_SC_ANA_TRANSITION ||
	       code == NVME_SC_ANA_PERSISTENT_LOSS;
}

void host_block_ended(struct host_slot *slot, struct host_queue *queue)
{
	struct nvme_host *host = queue->host;
	struct req *req = slot->req;
	bool again = may_go_again(host, slot);
	enum status status = status_of(slot);

	if (slot->damaged)
		host->stats.digest_errors++;
	if (slot->answered && is_ana(slot->status)) {
		host->accessible = false;
		host->ana_ns = now_ns(host);
	}
	host_slot_release(queue, slot);
	if (status != STATUS_OK && again) {
		host->stats.redriven++;
		STAILQ_INSERT_TAIL(&host->waiting, req, link);
	} else {
		finish(req, status);
	}
	host_kick(host);
}

/* The end of an association, and of the device. */

static bool is_quiet(const struct nvme_host *host)
{
	for (unsigned i = 0; i <= host->options.queues; i++) {
		if (host->queues[i].stream != NULL || host->queues[i].sending)
			return false;
	}
	return true;
}

void host_quiet(struct nvme_host *host)
{
	struct req *req = host->stopping;

	if (req == NULL || !is_quiet(host))
		return;
	host->stopping = NULL;
	req_complete(req, STATUS_OK, 0);
}

static void close_queues(struct nvme_host *host)
{
	for (unsigned i = 0; i <= host->options.queues; i++)
		host_queue_close(&host->queues[i]);
	host->settling = host->ana_asked = host->event_asked = host->alive_asked = false;
}

void host_lose(struct nvme_host *host, const char *format, ...)
{
	uint32_t doublings =
	        host->attempts < BACKOFF_DOUBLINGS_MAX ? host->attempts : BACKOFF_DOUBLINGS_MAX;
	uint64_t wait_ns = host->options.backoff_ns << doublings;
	bool was_ready = host->state == HOST_READY;
	va_list arguments;

	if (host->state == HOST_DOWN || host->state == HOST_STOPPED)
		return;
	va_start(arguments, format);
	vsnprintf(host->error, sizeof(host->error), format, arguments);
	va_end(arguments);
	if (wait_ns > host->options.backoff_max_ns)
		wait_ns = host->options.backoff_max_ns;
	host->state = HOST_DOWN;
	host->attempts++;
	host->retry_ns = now_ns(host) + wait_ns / 2 + prng_below(&host->prng, wait_ns / 2 + 1);
	if (was_ready) {
		host->stats.losses++;
		log_put(host->options.worker, LOG_WARN, "nvme_tcp: lost, address=%s reason=\"%s\"",
		        host->options.address, host->error);
	}
	close_queues(host);
}

static void begin(struct nvme_host *host)
{
	assert(host->state == HOST_DOWN && is_quiet(host));
	host->state = HOST_ADMIN;
	host->step = STEP_NONE;
	host->step_ns = now_ns(host);
	host->accessible = true;
	host->stats.connects++;
	if (host_queue_open(&host->queues[0]) != STATUS_OK)
		host_lose(host, "cannot connect to %s", host->options.address);
	else
		host_kick(host);
}

/* Commands that have waited too long end; those that can go on stay. */
static void age(struct nvme_host *host)
{
	struct req_list waiting = STAILQ_HEAD_INITIALIZER(waiting);
	struct req *req;

	STAILQ_CONCAT(&waiting, &host->waiting);
	while ((req = STAILQ_FIRST(&waiting)) != NULL) {
		const struct host_frame *frame = req_top(req, struct host_frame);
		enum status status = req_check(req);

		STAILQ_REMOVE_HEAD(&waiting, link);
		if (status == STATUS_OK && now_ns(host) - frame->since_ns > host->options.loss_ns)
			status = STATUS_UNAVAILABLE;
		if (status == STATUS_OK)
			STAILQ_INSERT_TAIL(&host->waiting, req, link);
		else
			finish(req, status);
	}
}

/* A controller that owes an answer for too long is given up. */
static void watch(struct nvme_host *host)
{
	for (unsigned i = 0; i <= host->options.queues; i++) {
		struct host_queue *queue = &host->queues[i];

		for (uint32_t k = 0; k < queue->depth && queue->in_flight > 0; k++) {
			const struct host_slot *slot = &queue->slots[k];

			if (slot->kind == SLOT_FREE || slot->step == STEP_EVENT ||
			    now_ns(host) - slot->begun_ns <= host->options.timeout_ns)
				continue;
			host->stats.timeouts++;
			host_lose(host, "no answer from %s", host->options.address);
			return;
		}
	}
}

static void tick(struct timer *timer)
{
	struct nvme_host *host = container_of(timer, struct nvme_host, timer);
	bool calm;

	age(host);
	watch(host);
	if (!STAILQ_EMPTY(&host->waiting))
		host_kick(host);
	if (host->state != HOST_DOWN)
		host_setup_tick(host);
	else if (now_ns(host) >= host->retry_ns && is_quiet(host))
		begin(host);
	calm = host->state == HOST_READY && host->accessible && STAILQ_EMPTY(&host->waiting);
	timer_arm(&host->options.worker->timers, timer,
	          now_ns(host) + (calm ? HOST_CALM_NS : HOST_TICK_NS), tick);
}

void nvme_host_stop(struct blk *blk, struct req *req)
{
	struct nvme_host *host = host_of(blk);

	assert(STAILQ_EMPTY(&host->waiting) && host->stopping == NULL);
	timer_cancel(&host->options.worker->timers, &host->timer);
	host->state = HOST_STOPPED;
	close_queues(host);
	host->stopping = req;
	host_quiet(host);
}

static void host_free(struct nvme_host *host)
{
	for (unsigned i = 0; i <= NVME_HOST_QUEUES_MAX; i++)
		free(host->queues[i].slots);
	free(host);
}

/* After nvme_host_stop(); or its transport has gone, and with it all that was under way. */
static void host_close(struct blk *blk)
{
	struct nvme_host *host = host_of(blk);

	assert(STAILQ_EMPTY(&host->waiting));
	timer_cancel(&host->options.worker->timers, &host->timer);
	if (host->kicked)
		STAILQ_REMOVE(&host->options.worker->arrived, &host->kick, req, link);
	host->kicked = false;
	if (host->state != HOST_STOPPED) {
		host->state = HOST_STOPPED;
		close_queues(host);
	}
	if (host->kicked)
		STAILQ_REMOVE(&host->options.worker->arrived, &host->kick, req, link);
	assert(is_quiet(host)); /* else: a send still has its memory */
	host_free(host);
}

static const struct blk_ops host_ops = {
	.name = "nvme_tcp",
	.submit = host_submit,
	.stop = nvme_host_stop,
	.close = host_close,
};

static uint64_t or_default(uint64_t value, uint64_t otherwise)
{
	return value != 0 ? value : otherwise;
}

static enum status complete_options(struct nvme_host_options *o)
{
	char uuid[NVME_UUID_TEXT_SIZE];

	o->nsid = (uint32_t)or_default(o->nsid, 1);
	o->queues = (unsigned)or_default(o->queues, 1);
	o->depth = (unsigned)or_default(o->depth, DEPTH_DEFAULT);
	o->keep_alive_ns = or_default(o->keep_alive_ns, KEEP_ALIVE_DEFAULT_NS);
	o->timeout_ns = or_default(o->timeout_ns, TIMEOUT_DEFAULT_NS);
	o->loss_ns = or_default(o->loss_ns, LOSS_DEFAULT_NS);
	o->backoff_ns = or_default(o->backoff_ns, BACKOFF_DEFAULT_NS);
	o->backoff_max_ns = or_default(o->backoff_max_ns, BACKOFF_MAX_DEFAULT_NS);
	if (o->host_nqn[0] == '\0') {
		nvme_uuid_text(o->host_id, uuid);
		snprintf(o->host_nqn, sizeof(o->host_nqn), "nqn.2014-08.org.nvmexpress:uuid:%s",
		         uuid);
	}
	if (o->queues > NVME_HOST_QUEUES_MAX || o->depth > NVME_HOST_DEPTH_MAX || o->depth < 2 ||
	    !nvme_nqn_is_valid(o->nqn, sizeof(o->nqn)) ||
	    !nvme_nqn_is_valid(o->host_nqn, sizeof(o->host_nqn)))
		return STATUS_INVALID;
	return STATUS_OK;
}

static bool queue_init(struct nvme_host *host, unsigned id)
{
	struct host_queue *queue = &host->queues[id];

	queue->host = host;
	queue->id = (uint16_t)id;
	queue->depth = id == 0 ? HOST_ADMIN_DEPTH : host->options.depth;
	queue->slots = calloc(queue->depth, sizeof(*queue->slots));
	STAILQ_INIT(&queue->free);
	STAILQ_INIT(&queue->out);
	for (uint32_t i = 0; queue->slots != NULL && i < queue->depth; i++)
		STAILQ_INSERT_TAIL(&queue->free, &queue->slots[i], link);
	return queue->slots != NULL;
}

enum status nvme_host_open(const struct nvme_host_options *options,
                           const struct nvme_host_facts *facts, struct blk **out)
{
	struct nvme_host *host = calloc(1, sizeof(*host));
	enum status status;

	if (host == NULL)
		return STATUS_NO_SPACE;
	host->options = *options;
	status = complete_options(&host->options);
	for (unsigned i = 0; i <= host->options.queues && status == STATUS_OK; i++)
		status = queue_init(host, i) ? STATUS_OK : STATUS_NO_SPACE;
	if (status != STATUS_OK) {
		host_free(host);
		return status;
	}
	host->discovery = strcmp(host->options.nqn, NVME_DISCOVERY_NQN) == 0;
	host->blk.ops = &host_ops;
	host->blk.worker = options->worker;
	host->blk.frames_size = align_up(sizeof(struct host_frame), 16);
	if (facts != NULL) {
		host->facts = *facts;
		host->facts_given = true;
		host->blk.geometry = facts->geometry;
	}
	STAILQ_INIT(&host->waiting);
	prng_init(&host->prng, options->seed);
	req_init(&host->kick, options->worker);
	host->retry_ns = now_ns(host);
	timer_arm(&options->worker->timers, &host->timer, now_ns(host), tick);
	*out = &host->blk;
	return STATUS_OK;
}

size_t nvme_host_size(const struct nvme_host_options *options)
{
	size_t queues = or_default(options->queues, 1);
	size_t depth = or_default(options->depth, DEPTH_DEFAULT);

	return sizeof(struct nvme_host) +
	       (HOST_ADMIN_DEPTH + queues * depth) * sizeof(struct host_slot);
}

bool nvme_host_is_ready(const struct blk *blk)
{
	return host_of(blk)->state == HOST_READY;
}

const struct nvme_host_facts *nvme_host_facts(const struct blk *blk)
{
	return &host_of(blk)->facts;
}

const struct nvme_host_stats *nvme_host_stats(const struct blk *blk)
{
	return &host_of(blk)->stats;
}

const char *nvme_host_error(const struct blk *blk)
{
	return host_of(blk)->error;
}
