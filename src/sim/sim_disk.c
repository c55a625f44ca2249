/* SPDX-License-Identifier: Apache-2.0 */
#include "sim/sim_disk.h"

#include <inttypes.h>
#include <stdlib.h>

#include "base/assert.h"
#include "base/hash.h"
#include "sim/sim_patch.h"

enum {
	BLOCK_SIZE_DEFAULT = 4096,
	TRANSFER_MAX_DEFAULT = 256,
	QUEUE_DEPTH_DEFAULT = 1024,
	DIRTY_MAX = 8192, /* pages the cache holds before it writes the oldest out by itself */
	STALL_FACTOR = 1000,
	SLOW_FACTOR = 50,
};

/* Nanoseconds, of flash. */
enum {
	LATENCY_MIN = 10000,
	LATENCY_MEAN = 60000,
	FLUSH_MIN = 50000,
	FLUSH_MEAN = 300000,
};

enum fate { FATE_GOOD, FATE_ERROR, FATE_LOST, FATE_MISDIRECTED, FATE_FLIPPED, FATE_ROTTEN };

struct disk_op {
	struct sim_event event;
	TAILQ_ENTRY(disk_op) link; /* in free, queued, flying or ended */
	struct disk_port *port;
	struct req *req;
	struct blk_cmd cmd;
	struct patch_list patches; /* what a write has captured */
	uint64_t number, covers;   /* flush: the writes completed up to here */
	uint64_t rest_ns;          /* from the moment its bytes move to its completion */
	enum fate fate;
	enum status status;
	bool captured;
	bool late; /* a read's buffer is filled at the end and scribbled over before, or early */
};
TAILQ_HEAD(op_list, disk_op);

/* The disk as one worker sees it. */
struct disk_port {
	struct blk blk;
	struct transport transport;
	struct sim_device device;
	LIST_ENTRY(disk_port) link;
	struct sim_disk *disk;
	unsigned node;
	struct op_list queued, ended;
	bool closed;
};

struct sim_disk {
	struct sim_disk_options options;
	struct prng prng;
	struct image media, seen;
	struct patch_list dirty; /* completed and not durable, in the order of completion */
	struct patch_pool patches;
	struct sim *sim; /* of the endpoints; NULL: none */
	uint64_t numbers, completed, moment;
	struct op_list free, flying;
	struct disk_op *ops;
	LIST_HEAD(, disk_port) ports;
	struct sim_disk_rule rules[SIM_DISK_RULES_MAX];
	unsigned rule_count;
	struct sim_disk_stats stats;
};

/* What moves through the vector of a command, page by page. */
struct cursor {
	const struct iovec *iov;
	size_t done; /* of *iov */
};

static void cursor_move(struct cursor *at, uint8_t *page, size_t size, bool to_page)
{
	while (size > 0) {
		size_t part = at->iov->iov_len - at->done;
		uint8_t *memory = (uint8_t *)at->iov->iov_base + at->done;

		if (part > size)
			part = size;
		if (to_page)
			memcpy(page, memory, part);
		else
			memcpy(memory, page, part);
		page += part;
		size -= part;
		at->done += part;
		if (at->done == at->iov->iov_len) {
			at->iov++;
			at->done = 0;
		}
	}
}

/* Takes a write's bytes out of the submitter's memory. */
static void capture(struct sim_disk *disk, struct disk_op *op)
{
	uint64_t offset = op->cmd.lba * disk->options.block_size;
	uint64_t left = (uint64_t)op->cmd.block_count * disk->options.block_size;
	struct cursor at = { .iov = op->cmd.iov };

	assert(!op->captured);
	op->captured = true;
	if (op->fate == FATE_MISDIRECTED)
		offset = prng_below(&disk->prng,
		                    (disk->options.size - left) / disk->options.block_size + 1) *
		         disk->options.block_size;
	while (left > 0) {
		size_t from = offset % IMAGE_PAGE_SIZE;
		size_t part = IMAGE_PAGE_SIZE - from < left ? IMAGE_PAGE_SIZE - from : left;
		struct patch *patch = patch_take(&disk->patches);

		patch->page = image_page_take(disk->media.pool);
		patch->index = offset / IMAGE_PAGE_SIZE;
		patch->write = op->number;
		patch->mask = patch_mask(from, part);
		cursor_move(&at, patch->page->data + from, part, true);
		STAILQ_INSERT_TAIL(&op->patches, patch, link);
		offset += part;
		left -= part;
	}
}

/* A write of zeroes; a discard may be one of whatever the device likes. */
static void capture_range(struct sim_disk *disk, struct disk_op *op)
{
	uint64_t offset = op->cmd.lba * disk->options.block_size;
	uint64_t left = (uint64_t)op->cmd.block_count * disk->options.block_size;
	bool any = op->cmd.op == BLK_DISCARD && !disk->options.discard_zeroes;

	op->captured = true;
	for (size_t part; left > 0; offset += part, left -= part) {
		size_t from = offset % IMAGE_PAGE_SIZE;
		uint64_t index = offset / IMAGE_PAGE_SIZE;
		struct patch *patch;

		part = IMAGE_PAGE_SIZE - from < left ? IMAGE_PAGE_SIZE - from : left;
		if (image_page(&disk->seen, index) == NULL &&
		    image_page(&disk->media, index) == NULL)
			continue;
		if (any && prng_below(&disk->prng, 3) == 0)
			continue;
		patch = patch_take(&disk->patches);
		patch->index = index;
		patch->write = op->number;
		patch->mask = patch_mask(from, part);
		if (any && prng_below(&disk->prng, 2) == 0) {
			patch->page = image_page_take(disk->media.pool);
			prng_fill(&disk->prng, patch->page->data, IMAGE_PAGE_SIZE);
		}
		STAILQ_INSERT_TAIL(&op->patches, patch, link);
	}
}

static void fill_read(struct sim_disk *disk, const struct disk_op *op)
{
	static const uint8_t zeroes[IMAGE_PAGE_SIZE];
	uint64_t offset = op->cmd.lba * disk->options.block_size;
	uint64_t left = (uint64_t)op->cmd.block_count * disk->options.block_size;
	struct cursor at = { .iov = op->cmd.iov };

	while (left > 0) {
		size_t from = offset % IMAGE_PAGE_SIZE;
		size_t part = IMAGE_PAGE_SIZE - from < left ? IMAGE_PAGE_SIZE - from : left;
		const struct image_page *page = image_page(&disk->seen, offset / IMAGE_PAGE_SIZE);
		const uint8_t *data = page == NULL ? zeroes : page->data;

		cursor_move(&at, (uint8_t *)(uintptr_t)(data + from), part, false);
		offset += part;
		left -= part;
	}
}

static void scribble(struct sim_disk *disk, const struct disk_op *op)
{
	int junk = (int)prng_below(&disk->prng, 256);

	for (unsigned i = 0; i < op->cmd.iov_count; i++)
		memset(op->cmd.iov[i].iov_base, junk, op->cmd.iov[i].iov_len);
}

static void flip_bit(struct sim_disk *disk, const struct disk_op *op)
{
	const struct iovec *v = &op->cmd.iov[prng_below(&disk->prng, op->cmd.iov_count)];
	uint64_t bit = prng_below(&disk->prng, v->iov_len * 8);

	((uint8_t *)v->iov_base)[bit / 8] ^= (uint8_t)(1u << bit % 8);
}

/* A sector under the read becomes garbage, for ever. */
static void rot(struct sim_disk *disk, const struct disk_op *op)
{
	uint64_t size = (uint64_t)op->cmd.block_count * disk->options.block_size;
	uint64_t offset = op->cmd.lba * disk->options.block_size +
	                  prng_below(&disk->prng, size / IMAGE_SECTOR_SIZE) * IMAGE_SECTOR_SIZE;
	uint8_t garbage[IMAGE_SECTOR_SIZE];

	prng_fill(&disk->prng, garbage, sizeof(garbage));
	sim_disk_poke(disk, offset, garbage, sizeof(garbage));
}

/* The write is newer than what the cache holds of these sectors. */
static void supersede(struct sim_disk *disk, const struct patch *newer)
{
	struct patch *patch;

	STAILQ_FOREACH (patch, &disk->dirty, link) {
		if (patch->index == newer->index)
			patch->mask &= (uint8_t)~newer->mask;
	}
}

/* The oldest of the cache goes to the media. */
static void destage_first(struct sim_disk *disk)
{
	struct patch *patch = STAILQ_FIRST(&disk->dirty);

	STAILQ_REMOVE_HEAD(&disk->dirty, link);
	patch_apply(&disk->media, patch, patch->mask);
	patch_free(&disk->patches, patch);
	disk->stats.unflushed--;
}

static void write_landed(struct sim_disk *disk, struct disk_op *op, bool durable)
{
	struct patch *patch;

	disk->completed++;
	while ((patch = STAILQ_FIRST(&op->patches)) != NULL) {
		STAILQ_REMOVE_HEAD(&op->patches, link);
		patch_apply(&disk->seen, patch, patch->mask);
		if (durable) {
			supersede(disk, patch);
			patch_apply(&disk->media, patch, patch->mask);
			patch_free(&disk->patches, patch);
			continue;
		}
		patch->completed = disk->completed;
		STAILQ_INSERT_TAIL(&disk->dirty, patch, link);
		disk->stats.unflushed++;
	}
	while (disk->stats.unflushed > DIRTY_MAX)
		destage_first(disk);
}

static void end_write(struct sim_disk *disk, struct disk_op *op)
{
	bool durable = disk->options.write_through || (op->cmd.flags & BLK_FUA);
	struct patch *patch;

	if (durable && prng_chance(&disk->prng, disk->options.faults.flush_lie)) {
		disk->stats.faults++;
		durable = false;
	}
	switch (op->fate) {
	case FATE_LOST:
		patch_free_all(&disk->patches, &op->patches);
		return;
	case FATE_ERROR:
		STAILQ_FOREACH (patch, &op->patches, link)
			patch->mask &= (uint8_t)prng_next(&disk->prng);
		if (op->status == STATUS_NO_SPACE)
			patch_free_all(&disk->patches, &op->patches);
		durable = false;
		break;
	default:
		disk->stats.blocks_written += op->cmd.block_count;
		break;
	}
	write_landed(disk, op, durable);
}

static void end_read(struct sim_disk *disk, struct disk_op *op)
{
	if (op->fate == FATE_ERROR) {
		scribble(disk, op);
		return;
	}
	if (op->fate == FATE_ROTTEN)
		rot(disk, op);
	if (op->late || op->fate == FATE_ROTTEN)
		fill_read(disk, op);
	if (op->fate == FATE_FLIPPED)
		flip_bit(disk, op);
	disk->stats.blocks_read += op->cmd.block_count;
}

/*
 * A flush that fails leaves the cache believing that its pages are clean: reads still see them, but
 * what was not written out by luck never will be.
 */
static void end_flush(struct sim_disk *disk, const struct disk_op *op)
{
	struct patch *patch;

	if (op->fate == FATE_LOST)
		return;
	while ((patch = STAILQ_FIRST(&disk->dirty)) != NULL && patch->completed <= op->covers) {
		if (op->fate == FATE_ERROR && prng_below(&disk->prng, 4) != 0)
			patch->mask = 0;
		destage_first(disk);
	}
}

static void op_ended(struct sim *sim, struct sim_event *event)
{
	struct disk_op *op = container_of(event, struct disk_op, event);
	struct disk_port *port = op->port;
	struct sim_disk *disk = port->disk;
	static const char *const names[BLK_OP_COUNT] = { "read", "write", "flush", "discard",
		                                         "zeroes" };

	switch (op->cmd.op) {
	case BLK_READ:
		end_read(disk, op);
		break;
	case BLK_WRITE:
	case BLK_DISCARD:
	case BLK_ZEROES:
		end_write(disk, op);
		break;
	case BLK_FLUSH:
		end_flush(disk, op);
		break;
	case BLK_OP_COUNT:
		unreachable();
	}
	disk->moment++;
	disk->stats.ops[op->cmd.op]++;
	if (sim_is_traced(sim))
		sim_trace(sim, "disk %s %" PRIu64 "+%u ends: %s, fate %d", names[op->cmd.op],
		          op->cmd.lba, op->cmd.block_count, status_name(op->status), (int)op->fate);
	TAILQ_REMOVE(&disk->flying, op, link);
	TAILQ_INSERT_TAIL(&port->ended, op, link);
	sim_wake(sim, port->node, port->blk.worker->id);
}

/* The moment between submission and completion at which the bytes move. */
static void op_moves(struct sim *sim, struct sim_event *event)
{
	struct disk_op *op = container_of(event, struct disk_op, event);
	struct sim_disk *disk = op->port->disk;

	if (op->cmd.op == BLK_WRITE)
		capture(disk, op);
	else if (op->cmd.op == BLK_DISCARD || op->cmd.op == BLK_ZEROES)
		capture_range(disk, op);
	else if (op->cmd.op == BLK_READ && op->late)
		scribble(disk, op);
	else if (op->cmd.op == BLK_READ)
		fill_read(disk, op);
	disk->moment++;
	sim_arm(sim, &op->event, op->rest_ns, op_ended);
}

static uint64_t op_latency(struct sim_disk *disk, enum blk_op op)
{
	bool flush = op == BLK_FLUSH;
	uint64_t min_ns = flush ? FLUSH_MIN : LATENCY_MIN;
	uint64_t mean_ns = flush ? FLUSH_MEAN : LATENCY_MEAN;
	uint64_t latency_ns = min_ns + prng_exponential(&disk->prng, mean_ns - min_ns);

	if (disk->options.slow_media)
		latency_ns *= SLOW_FACTOR;
	if (prng_chance(&disk->prng, disk->options.faults.stall))
		latency_ns *= STALL_FACTOR;
	return latency_ns;
}

static bool rule_matches(const struct sim_disk_rule *rule, const struct blk_cmd *cmd)
{
	if (rule->count == 0 || !(rule->ops & 1u << cmd->op))
		return false;
	if (cmd->op == BLK_FLUSH || (rule->first == 0 && rule->last == 0))
		return true;
	return cmd->lba <= rule->last && cmd->lba + cmd->block_count > rule->first;
}

/* Whether a rule decides what becomes of this operation. */
static bool rules_decide(struct sim_disk *disk, struct disk_op *op)
{
	for (unsigned i = 0; i < disk->rule_count; i++) {
		struct sim_disk_rule *rule = &disk->rules[i];

		if (!rule_matches(rule, &op->cmd))
			continue;
		if (rule->skip > 0) {
			rule->skip--;
			continue;
		}
		if (rule->count != UINT32_MAX)
			rule->count--;
		op->status = rule->status;
		op->fate = rule->status == STATUS_OK ? FATE_LOST : FATE_ERROR;
		return true;
	}
	return false;
}

static void op_set(struct disk_op *op, enum fate fate, enum status status)
{
	op->fate = fate;
	op->status = status;
}

static void draw_fate(struct sim_disk *disk, struct disk_op *op)
{
	const struct sim_disk_faults *f = &disk->options.faults;
	struct prng *prng = &disk->prng;

	switch (op->cmd.op) {
	case BLK_READ:
		if (prng_chance(prng, f->read_error))
			op_set(op, FATE_ERROR, STATUS_IO);
		else if (prng_chance(prng, f->read_flip))
			op_set(op, FATE_FLIPPED, STATUS_OK);
		else if (prng_chance(prng, f->read_rot))
			op_set(op, FATE_ROTTEN, STATUS_OK);
		break;
	case BLK_WRITE:
	case BLK_ZEROES:
		if (prng_chance(prng, f->write_error))
			op_set(op, FATE_ERROR, STATUS_IO);
		else if (prng_chance(prng, f->write_no_space))
			op_set(op, FATE_ERROR, STATUS_NO_SPACE);
		else if (prng_chance(prng, f->write_lost))
			op_set(op, FATE_LOST, STATUS_OK);
		else if (prng_chance(prng, f->write_misdirected))
			op_set(op, FATE_MISDIRECTED, STATUS_OK);
		break;
	case BLK_FLUSH:
		if (prng_chance(prng, f->flush_error))
			op_set(op, FATE_ERROR, STATUS_IO);
		else if (prng_chance(prng, f->flush_lie))
			op_set(op, FATE_LOST, STATUS_OK);
		break;
	case BLK_DISCARD:
		break;
	case BLK_OP_COUNT:
		unreachable();
	}
}

static void decide(struct sim_disk *disk, struct disk_op *op)
{
	op_set(op, FATE_GOOD, STATUS_OK);
	if (!rules_decide(disk, op))
		draw_fate(disk, op);
	disk->stats.faults += op->fate != FATE_GOOD;
}

static void port_submit(struct blk *blk, struct req *req, const struct blk_cmd *cmd)
{
	struct disk_port *port = container_of(blk, struct disk_port, blk);
	struct sim_disk *disk = port->disk;
	struct disk_op *op = TAILQ_FIRST(&disk->free);

	assert(!port->closed);
	assert(op != NULL); /* else: more operations than queue_depth says */
	TAILQ_REMOVE(&disk->free, op, link);
	*op = (struct disk_op){
		.port = port,
		.req = req,
		.cmd = *cmd,
		.number = ++disk->numbers,
		.covers = disk->completed,
	};
	STAILQ_INIT(&op->patches);
	decide(disk, op);
	disk->stats.in_flight++;
	TAILQ_INSERT_TAIL(&port->queued, op, link);
}

static void port_doorbell(struct transport *t)
{
	struct disk_port *port = container_of(t, struct disk_port, transport);
	struct sim_disk *disk = port->disk;
	struct disk_op *op;

	while ((op = TAILQ_FIRST(&port->queued)) != NULL) {
		uint64_t latency_ns = op_latency(disk, op->cmd.op);
		uint64_t moves_ns = prng_below(&disk->prng, latency_ns + 1);

		TAILQ_REMOVE(&port->queued, op, link);
		TAILQ_INSERT_TAIL(&disk->flying, op, link);
		op->rest_ns = latency_ns - moves_ns;
		op->late = prng_below(&disk->prng, 2) == 0;
		sim_arm(disk->sim, &op->event, moves_ns, op_moves);
		disk->moment++;
	}
}

static void op_free(struct sim_disk *disk, struct disk_op *op)
{
	patch_free_all(&disk->patches, &op->patches);
	TAILQ_INSERT_HEAD(&disk->free, op, link);
	disk->stats.in_flight--;
}

static unsigned port_poll(struct transport *t)
{
	struct disk_port *port = container_of(t, struct disk_port, transport);
	unsigned count = 0;
	struct disk_op *op;

	while ((op = TAILQ_FIRST(&port->ended)) != NULL) {
		TAILQ_REMOVE(&port->ended, op, link);
		req_complete(op->req, op->status, 0);
		op_free(port->disk, op);
		count++;
	}
	return count;
}

static const struct transport_ops port_transport_ops = {
	.name = "sim_disk",
	.poll = port_poll,
	.doorbell = port_doorbell,
};

/* The endpoint's memory stays until its node ends: the worker still polls it. */
static void port_close(struct blk *blk)
{
	struct disk_port *port = container_of(blk, struct disk_port, blk);

	assert(!port->closed);
	assert(TAILQ_EMPTY(&port->queued));
	assert(TAILQ_EMPTY(&port->ended));
	port->closed = true;
}

static const struct blk_ops port_blk_ops = {
	.name = "sim",
	.submit = port_submit,
	.close = port_close,
};

static void drop_ops(struct sim_disk *disk, struct op_list *list)
{
	struct disk_op *op;

	while ((op = TAILQ_FIRST(list)) != NULL) {
		TAILQ_REMOVE(list, op, link);
		if (op->event.slot != 0)
			sim_disarm(disk->sim, &op->event);
		op_free(disk, op);
	}
}

/* The process is gone, the device is not: each write under way ends, or does not, or in part. */
static void kill_ops(struct sim_disk *disk)
{
	struct disk_op *op;

	TAILQ_FOREACH (op, &disk->flying, link) {
		struct patch *patch;

		if (!op->captured || op->fate == FATE_LOST || prng_below(&disk->prng, 3) == 0)
			continue;
		if (prng_below(&disk->prng, 2) == 0) {
			STAILQ_FOREACH (patch, &op->patches, link)
				patch->mask &= (uint8_t)prng_next(&disk->prng);
		}
		write_landed(disk, op, false);
	}
	drop_ops(disk, &disk->flying);
}

static void port_end(struct sim_device *device, enum sim_end end)
{
	struct disk_port *port = container_of(device, struct disk_port, device);
	struct sim_disk *disk = port->disk;

	if (end == SIM_CLOSE)
		assert(TAILQ_EMPTY(&port->queued) && TAILQ_EMPTY(&port->ended));
	drop_ops(disk, &port->queued);
	drop_ops(disk, &port->ended);
	LIST_REMOVE(port, link);
	free(port);
	if (!LIST_EMPTY(&disk->ports))
		return; /* the last endpoint to go ends what flies for all */
	if (end == SIM_CLOSE)
		assert(TAILQ_EMPTY(&disk->flying));
	else if (end == SIM_KILL)
		kill_ops(disk);
	else
		sim_disk_power_cut(disk);
	disk->sim = NULL;
}

struct blk *sim_disk_attach(struct sim_disk *disk, struct sim *sim, unsigned node, unsigned worker)
{
	const struct sim_disk_options *o = &disk->options;
	struct disk_port *port = calloc(1, sizeof(*port)), *other = LIST_FIRST(&disk->ports);

	assert(port != NULL);
	assert(other == NULL || (disk->sim == sim && other->node == node));
	disk->sim = sim;
	port->disk = disk;
	port->node = node;
	TAILQ_INIT(&port->queued);
	TAILQ_INIT(&port->ended);
	port->blk = (struct blk){
		.ops = &port_blk_ops,
		.worker = sim_worker(sim, node, worker),
		.geometry = {
			.block_count = o->size / o->block_size,
			.block_size = o->block_size,
			.align = o->block_size,
			.transfer_max = o->transfer_max,
			.ops = (1u << BLK_OP_COUNT) - 1,
			.atomic_unit = o->atomic_unit,
			.discard_unit = 1,
			.volatile_cache = !o->write_through,
			.fua_is_flush = o->fua_is_flush,
			.discard_zeroes = o->discard_zeroes,
		},
	};
	port->transport = (struct transport){
		.ops = &port_transport_ops,
		.worker = port->blk.worker,
	};
	port->device.end = port_end;
	worker_add_transport(port->blk.worker, &port->transport);
	sim_add_device(sim, &port->device, node);
	LIST_INSERT_HEAD(&disk->ports, port, link);
	return &port->blk;
}

static struct sim_disk *disk_open(const struct sim_disk_options *options, struct image_pool *pool)
{
	struct sim_disk *disk = calloc(1, sizeof(*disk));
	struct sim_disk_options *o;

	assert(disk != NULL);
	o = &disk->options;
	*o = *options;
	if (o->block_size == 0)
		o->block_size = BLOCK_SIZE_DEFAULT;
	if (o->transfer_max == 0)
		o->transfer_max = TRANSFER_MAX_DEFAULT;
	if (o->queue_depth == 0)
		o->queue_depth = QUEUE_DEPTH_DEFAULT;
	assert(o->block_size == IMAGE_SECTOR_SIZE || o->block_size == IMAGE_PAGE_SIZE);
	assert(o->atomic_unit == 0 || o->atomic_unit == IMAGE_SECTOR_SIZE ||
	       o->atomic_unit == IMAGE_PAGE_SIZE);
	prng_init(&disk->prng, o->seed);
	image_init(&disk->media, pool, o->size);
	image_init(&disk->seen, pool, o->size);
	patch_pool_init(&disk->patches, pool);
	STAILQ_INIT(&disk->dirty);
	TAILQ_INIT(&disk->free);
	TAILQ_INIT(&disk->flying);
	LIST_INIT(&disk->ports);
	disk->ops = calloc(o->queue_depth, sizeof(struct disk_op));
	assert(disk->ops != NULL);
	for (uint32_t i = 0; i < o->queue_depth; i++) {
		STAILQ_INIT(&disk->ops[i].patches);
		TAILQ_INSERT_TAIL(&disk->free, &disk->ops[i], link);
	}
	return disk;
}

struct sim_disk *sim_disk_open(const struct sim_disk_options *options)
{
	struct image_pool *pool = image_pool_open();
	struct sim_disk *disk = disk_open(options, pool);

	image_pool_unref(pool);
	return disk;
}

struct sim_disk *sim_disk_open_like(const struct sim_disk *disk)
{
	return disk_open(&disk->options, disk->media.pool);
}

void sim_disk_close(struct sim_disk *disk)
{
	assert(LIST_EMPTY(&disk->ports));
	assert(disk->stats.in_flight == 0);
	patch_free_all(&disk->patches, &disk->dirty);
	patch_pool_fini(&disk->patches);
	image_fini(&disk->seen);
	image_fini(&disk->media);
	free(disk->ops);
	free(disk);
}

/* What of `from` is not durable falls upon the image as the seed says. */
static void cut_image(struct image *image, const struct sim_disk *from, uint64_t seed,
                      struct sim_disk_stats *stats)
{
	const struct disk_op *op;
	struct patch_cut cut;

	patch_cut_init(&cut, image, seed);
	cut.torn = from->options.faults.cut_torn;
	cut.garbage = from->options.faults.cut_garbage;
	cut.atomic_unit = from->options.atomic_unit;
	patch_cut(&cut, &from->dirty);
	TAILQ_FOREACH (op, &from->flying, link)
		patch_cut(&cut, &op->patches);
	stats->power_cuts++;
	stats->writes_cut += cut.writes;
	stats->writes_lost += cut.lost;
	stats->writes_torn += cut.mangled;
	stats->writes_garbled += cut.garbled;
}

void sim_disk_power_cut(struct sim_disk *disk)
{
	assert(LIST_EMPTY(&disk->ports));
	cut_image(&disk->media, disk, prng_next(&disk->prng), &disk->stats);
	drop_ops(disk, &disk->flying);
	patch_free_all(&disk->patches, &disk->dirty);
	disk->stats.unflushed = 0;
	image_copy(&disk->seen, &disk->media);
}

void sim_disk_cut_into(struct sim_disk *to, const struct sim_disk *from, uint64_t seed)
{
	assert(LIST_EMPTY(&to->ports));
	assert(to->media.pool == from->media.pool);
	patch_free_all(&to->patches, &to->dirty);
	to->stats.unflushed = 0;
	image_copy(&to->media, &from->media);
	cut_image(&to->media, from, seed, &to->stats);
	image_copy(&to->seen, &to->media);
}

uint64_t sim_disk_moment(const struct sim_disk *disk)
{
	return disk->moment;
}

void sim_disk_set_faults(struct sim_disk *disk, const struct sim_disk_faults *faults)
{
	disk->options.faults = *faults;
}

void sim_disk_add_rule(struct sim_disk *disk, const struct sim_disk_rule *rule)
{
	assert(disk->rule_count < SIM_DISK_RULES_MAX);
	assert(rule->first <= rule->last);
	disk->rules[disk->rule_count++] = *rule;
}

void sim_disk_clear_rules(struct sim_disk *disk)
{
	disk->rule_count = 0;
}

void sim_disk_poke(struct sim_disk *disk, uint64_t offset, const void *data, size_t size)
{
	assert(offset <= disk->options.size && size <= disk->options.size - offset);
	image_write(&disk->media, offset, data, size);
	image_write(&disk->seen, offset, data, size);
}

void sim_disk_peek(const struct sim_disk *disk, uint64_t offset, void *data, size_t size)
{
	assert(offset <= disk->options.size && size <= disk->options.size - offset);
	image_read(&disk->seen, offset, data, size);
}

uint64_t sim_disk_hash(const struct sim_disk *disk)
{
	static const uint8_t zeroes[IMAGE_PAGE_SIZE];
	uint64_t hash = 0;

	for (uint64_t i = 0; i < disk->seen.page_count; i++) {
		const struct image_page *page = image_page(&disk->seen, i);
		uint64_t mixed[2];

		if (page == NULL || memcmp(page->data, zeroes, IMAGE_PAGE_SIZE) == 0)
			continue;
		mixed[0] = i;
		mixed[1] = hash64(bytes_of(page->data, IMAGE_PAGE_SIZE));
		hash ^= hash64(bytes_of(mixed, sizeof(mixed)));
	}
	return hash;
}

void sim_disk_stats(const struct sim_disk *disk, struct sim_disk_stats *out)
{
	*out = disk->stats;
}
