/* SPDX-License-Identifier: Apache-2.0 */
#include "kv_model.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#include "base/assert.h"

enum fate {
	FATE_RUNNING, /* submitted, not completed */
	FATE_ACKED,   /* done, because it was acknowledged or a completed read saw it */
	FATE_MAYBE,   /* completed, nobody knows how */
};

struct write {
	TAILQ_ENTRY(write) link; /* of its key, by number */
	struct kv_model_write what;
	uint64_t number, before, version; /* version: 0: not known */
	uint64_t began, ended;            /* ended: UINT64_MAX while it runs or may be */
	enum fate fate;
	bool sure; /* durable */
};
TAILQ_HEAD(write_list, write);

struct key {
	struct write_list writes;
	bool unknown; /* anything may be there: after a reset */
};

struct kv_model {
	unsigned key_count;
	uint64_t now, numbers;
	struct kv_model_stats stats;
	uint64_t horizon[KV_MODEL_STREAMS_MAX]; /* what ended before it is durable */
	const uint64_t *survives;               /* not NULL: what does not need not be there */
	struct key keys[];
};

static bool wrong(struct kv_model *model, uint64_t *counter, const char *format, ...)
        __attribute__((format(printf, 3, 4)));

static bool wrong(struct kv_model *model, uint64_t *counter, const char *format, ...)
{
	va_list arguments;

	++*counter;
	if (model->stats.first[0] != '\0')
		return false;
	va_start(arguments, format);
	vsnprintf(model->stats.first, sizeof(model->stats.first), format, arguments);
	va_end(arguments);
	return false;
}

/* The state of a key that nobody has written: a delete at the beginning of time. */
static void add_absent(struct kv_model *model, unsigned key)
{
	struct write *write = calloc(1, sizeof(*write));

	assert(write != NULL);
	write->what = (struct kv_model_write){ .key = key, .deletes = true };
	write->fate = FATE_ACKED;
	write->sure = true;
	write->ended = write->began = model->now;
	TAILQ_INSERT_HEAD(&model->keys[key].writes, write, link);
}

struct kv_model *kv_model_open(unsigned key_count)
{
	struct kv_model *model;

	assert(key_count > 0 && key_count <= KV_MODEL_KEYS_MAX);
	model = calloc(1, sizeof(*model) + key_count * sizeof(model->keys[0]));
	assert(model != NULL);
	model->key_count = key_count;
	for (unsigned i = 0; i < key_count; i++) {
		TAILQ_INIT(&model->keys[i].writes);
		add_absent(model, i);
	}
	return model;
}

static void forget(struct kv_model *model, struct write *write)
{
	TAILQ_REMOVE(&model->keys[write->what.key].writes, write, link);
	free(write);
}

static void forget_all(struct kv_model *model, unsigned key)
{
	struct write *write;

	while ((write = TAILQ_FIRST(&model->keys[key].writes)) != NULL)
		forget(model, write);
}

void kv_model_close(struct kv_model *model)
{
	for (unsigned i = 0; i < model->key_count; i++)
		forget_all(model, i);
	free(model);
}

uint64_t kv_model_now(struct kv_model *model)
{
	return ++model->now;
}

uint64_t kv_model_begin(struct kv_model *model, const struct kv_model_write *what)
{
	struct write *write = calloc(1, sizeof(*write));

	assert(write != NULL);
	assert(what->key < model->key_count);
	assert(what->stream < KV_MODEL_STREAMS_MAX);
	assert(what->deletes || what->size >= KV_MODEL_VALUE_MIN);
	write->what = *what;
	write->number = ++model->numbers;
	if (what->group == UINT64_MAX)
		write->what.group = write->number;
	write->began = ++model->now;
	write->ended = UINT64_MAX;
	TAILQ_INSERT_TAIL(&model->keys[what->key].writes, write, link);
	return write->number;
}

static struct write *find_in(const struct kv_model *model, unsigned key, uint64_t number)
{
	struct write *write;

	TAILQ_FOREACH (write, &model->keys[key].writes, link) {
		if (write->number == number)
			return write;
	}
	return NULL;
}

static struct write *find(const struct kv_model *model, uint64_t number)
{
	for (unsigned key = 0; key < model->key_count; key++) {
		struct write *last = TAILQ_LAST(&model->keys[key].writes, write_list);
		struct write *write;

		if (last == NULL || last->number < number)
			continue;
		write = find_in(model, key, number);
		if (write != NULL)
			return write;
	}
	return NULL;
}

static bool did_nothing(enum status status)
{
	switch (status) {
	case STATUS_CONFLICT:
	case STATUS_NO_SPACE:
	case STATUS_BUSY:
	case STATUS_TOO_LARGE:
	case STATUS_INVALID:
	case STATUS_UNSUPPORTED:
	case STATUS_DENIED:
		return true;
	default:
		return false;
	}
}

void kv_model_decide(struct kv_model *model, const struct kv_model_decision *decision)
{
	struct write *write = find(model, decision->number);

	assert(write != NULL && write->what.undecided); /* else: the visit ran twice */
	if (decision->keeps)
		return; /* still undecided: never to be seen */
	write->what.undecided = false;
	write->what.deletes = decision->deletes;
	write->what.expires_ms = decision->expires_ms;
	write->before = decision->before;
}

/* Two updates that both did something never saw the same. */
static void check_before(struct kv_model *model, const struct write *write)
{
	const struct write *other;

	if (write->before == 0)
		return;
	TAILQ_FOREACH (other, &model->keys[write->what.key].writes, link) {
		if (other != write && other->before == write->before && other->fate == FATE_ACKED)
			wrong(model, &model->stats.lost,
			      "key %u: updates %" PRIu64 " and %" PRIu64 " both saw %" PRIu64,
			      write->what.key, other->number, write->number, write->before);
	}
}

/* Versions of a key grow from a write to each that came after it. */
static void learn_version(struct kv_model *model, struct write *write, uint64_t version)
{
	const struct write *other;

	if (version == 0 || write->what.deletes)
		return;
	if (write->version != 0 && write->version != version)
		wrong(model, &model->stats.versions,
		      "key %u: write %" PRIu64 " has versions %" PRIu64 " and %" PRIu64,
		      write->what.key, write->number, write->version, version);
	write->version = version;
	TAILQ_FOREACH (other, &model->keys[write->what.key].writes, link) {
		if (other == write || other->version == 0)
			continue;
		if (other->version != version &&
		    (other->ended > write->began || other->version < version) &&
		    (write->ended > other->began || other->version > version))
			continue;
		wrong(model, &model->stats.versions,
		      "key %u: writes %" PRIu64 " and %" PRIu64 " have versions %" PRIu64
		      " and %" PRIu64,
		      write->what.key, other->number, write->number, other->version, version);
	}
}

/*
 * It is durable, and with it all that its log had before it. A delete may have found nothing to
 * write.
 */
static void make_sure(struct kv_model *model, struct write *write)
{
	uint64_t *horizon = &model->horizon[write->what.stream];

	write->sure = true;
	if (!write->what.deletes && write->began > *horizon)
		*horizon = write->began;
}

void kv_model_end(struct kv_model *model, uint64_t number, enum status status, uint64_t version)
{
	struct write *write = find(model, number);

	assert(write != NULL);
	assert(write->fate != FATE_MAYBE); /* else: completed twice */
	model->now++;
	if (status == STATUS_OK && write->what.undecided) {
		forget(model, write);
	} else if (status == STATUS_OK) {
		model->stats.acked++;
		if (write->fate != FATE_ACKED)
			write->ended = model->now;
		write->fate = FATE_ACKED;
		if (!write->what.unsure)
			make_sure(model, write);
		check_before(model, write);
		learn_version(model, write, version);
	} else if (did_nothing(status)) {
		if (write->fate == FATE_ACKED)
			wrong(model, &model->stats.forged,
			      "key %u: write %" PRIu64 " was seen, then refused", write->what.key,
			      number);
		forget(model, write);
	} else if (write->fate == FATE_RUNNING) {
		write->fate = FATE_MAYBE;
	}
}

static uint64_t filler(uint64_t number, uint64_t index)
{
	return (number * 0x9e3779b97f4a7c15ull ^ index) * 0xff51afd7ed558ccdull;
}

void kv_model_fill(uint64_t number, uint64_t before, uint8_t *data, uint32_t size)
{
	uint64_t head[3] = { number, before, size };

	assert(size >= KV_MODEL_VALUE_MIN);
	memcpy(data, head, sizeof(head));
	for (uint32_t i = sizeof(head); i < size; i += 8) {
		uint64_t word = filler(number, i);

		memcpy(data + i, &word, size - i < 8 ? size - i : 8);
	}
}

uint64_t kv_model_number(struct bytes value)
{
	uint64_t head[3];

	if (value.size < KV_MODEL_VALUE_MIN)
		return 0;
	memcpy(head, value.data, sizeof(head));
	if (head[2] != value.size)
		return 0;
	for (size_t i = sizeof(head); i < value.size; i += 8) {
		uint64_t word = filler(head[0], i);

		if (memcmp(value.data + i, &word, value.size - i < 8 ? value.size - i : 8) != 0)
			return 0;
	}
	return head[0];
}

static bool must_survive(const struct kv_model *model, const struct write *write)
{
	return model->survives == NULL || write->sure ||
	       write->ended < model->survives[write->what.stream];
}

/* Whether some other write of the key surely came after `write` and before `moment`. */
static const struct write *successor(const struct kv_model *model, const struct write *write,
                                     uint64_t moment)
{
	const struct write *other;

	TAILQ_FOREACH (other, &model->keys[write->what.key].writes, link) {
		if (other->fate == FATE_ACKED && other->began > write->ended &&
		    other->ended < moment && must_survive(model, other))
			return other;
	}
	return NULL;
}

/* Whether a write that is there shows as its value: 1, as absent: -1, or as either: 0. */
static int shows(const struct write *write, const struct kv_model_seen *seen)
{
	if (write->what.deletes)
		return -1;
	if (write->what.expires_ms == KV_MODEL_EXPIRY_KEPT)
		return 0;
	if (write->what.expires_ms == 0 || write->what.expires_ms > seen->wall_ms_last)
		return 1;
	return write->what.expires_ms <= seen->wall_ms_first ? -1 : 0;
}

static bool may_be_absent(struct kv_model *model, const struct kv_model_seen *seen,
                          const struct write **instead)
{
	const struct write *write;

	*instead = NULL;
	TAILQ_FOREACH (write, &model->keys[seen->key].writes, link) {
		if (write->what.undecided || successor(model, write, seen->since) != NULL)
			continue;
		if (shows(write, seen) <= 0)
			return true;
		if (*instead == NULL || write->fate == FATE_ACKED)
			*instead = write;
	}
	return false;
}

/* `when` names the occasion in the message. */
static bool check(struct kv_model *model, const struct kv_model_seen *seen, const char *when)
{
	const struct write *write = NULL, *other;

	model->stats.seen++;
	if (model->keys[seen->key].unknown)
		return true;
	if (seen->number == 0) {
		if (may_be_absent(model, seen, &other))
			return true;
		return wrong(model, &model->stats.lost,
		             "key %u is absent %s, write %" PRIu64 " is lost", seen->key, when,
		             other == NULL ? 0 : other->number);
	}
	write = find_in(model, seen->key, seen->number);
	if (write == NULL || write->what.undecided || write->what.deletes)
		return wrong(model, &model->stats.forged,
		             "key %u shows %" PRIu64 " %s, which must not be there", seen->key,
		             seen->number, when);
	if (shows(write, seen) < 0)
		return wrong(model, &model->stats.forged,
		             "key %u shows %" PRIu64 " %s, which has expired", seen->key,
		             seen->number, when);
	other = successor(model, write, seen->since);
	if (other != NULL)
		return wrong(model, &model->stats.lost,
		             "key %u shows %" PRIu64 " %s, %" PRIu64 " after it is lost", seen->key,
		             seen->number, when, other->number);
	return true;
}

/* It must not go away any more, and with it nothing of its commit. */
static void shown_to_client(struct kv_model *model, struct write *write)
{
	uint64_t group = write->what.group;

	model->now++;
	if (write->fate != FATE_ACKED)
		write->ended = model->now;
	write->fate = FATE_ACKED;
	if (write->what.relaxed)
		return; /* the read did not wait */
	make_sure(model, write);
	for (unsigned key = 0; group != 0 && key < model->key_count; key++) {
		TAILQ_FOREACH (write, &model->keys[key].writes, link) {
			if (write->what.group != group)
				continue;
			if (write->fate != FATE_ACKED)
				write->ended = model->now;
			write->fate = FATE_ACKED;
			make_sure(model, write);
		}
	}
}

bool kv_model_seen(struct kv_model *model, const struct kv_model_seen *seen)
{
	struct write *write;

	assert(seen->key < model->key_count);
	if (!check(model, seen, "to a read"))
		return false;
	write = seen->number == 0 ? NULL : find_in(model, seen->key, seen->number);
	if (write == NULL)
		return true;
	if (write->fate != FATE_ACKED || (!write->sure && !write->what.relaxed))
		shown_to_client(model, write);
	learn_version(model, write, seen->version);
	return true;
}

/* Whether the write that key shows was surely there before the commit of `part` began. */
static bool is_older(const struct kv_model *model, unsigned key, uint64_t number,
                     const struct write *part)
{
	const struct write *shown, *own = NULL;

	if (model->keys[key].unknown)
		return false;
	TAILQ_FOREACH (own, &model->keys[key].writes, link) {
		if (own->what.group == part->what.group)
			break;
	}
	if (own == NULL || own->number == number)
		return false; /* not a key of that commit, or it shows the commit */
	if (own->what.expires_ms != 0)
		return false;
	if (number == 0) {
		/* Absent is older unless some delete or expiry may have come after the commit. */
		TAILQ_FOREACH (shown, &model->keys[key].writes, link) {
			if ((shown->what.deletes || shown->what.expires_ms != 0) &&
			    !shown->what.undecided && shown->ended > own->began)
				return false;
		}
		return true;
	}
	shown = find_in(model, key, number);
	return shown != NULL && shown->ended < own->began;
}

/* The only write that an absent key may be absent by; NULL: there are several. */
static const struct write *absent_by(const struct kv_model *model, unsigned key, uint64_t since)
{
	const struct write *write, *only = NULL;

	if (model->keys[key].unknown)
		return NULL;
	TAILQ_FOREACH (write, &model->keys[key].writes, link) {
		if (!write->what.deletes && write->what.expires_ms == 0 && !write->what.undecided)
			continue;
		if (successor(model, write, since) != NULL)
			continue;
		if (only != NULL || !write->what.deletes)
			return NULL;
		only = write;
	}
	return only;
}

bool kv_model_whole(struct kv_model *model, const struct kv_model_snapshot *s)
{
	bool whole = true;

	for (unsigned key = s->first; key <= s->last; key++) {
		const struct write *part = s->numbers[key] == 0
		                                   ? absent_by(model, key, s->since)
		                                   : find_in(model, key, s->numbers[key]);

		if (part == NULL || part->what.group == 0)
			continue;
		for (unsigned other = s->first; other <= s->last; other++) {
			if (!is_older(model, other, s->numbers[other], part))
				continue;
			whole = wrong(model, &model->stats.split,
			              "key %u shows %" PRIu64 " of commit %" PRIu64
			              ", key %u shows %" PRIu64 " from before it",
			              key, s->numbers[key], part->what.group, other,
			              s->numbers[other]);
		}
	}
	return whole;
}

/* The key holds this and nothing else from now on. */
static void settle(struct kv_model *model, unsigned key, uint64_t number)
{
	struct write *write = number == 0 ? NULL : find_in(model, key, number), *other, *next;

	for (other = TAILQ_FIRST(&model->keys[key].writes); other != NULL; other = next) {
		next = TAILQ_NEXT(other, link);
		if (other != write)
			forget(model, other);
	}
	if (write == NULL) {
		add_absent(model, key);
		return;
	}
	write->fate = FATE_ACKED;
	write->sure = true;
	write->what.group = 0;
	write->began = write->ended = model->now;
}

/* What is there says what else must be. */
static void find_horizon(const struct kv_model *model, const struct kv_model_restart *restart,
                         uint64_t *horizon)
{
	for (unsigned i = 0; i < KV_MODEL_STREAMS_MAX; i++)
		horizon[i] = restart->clean ? UINT64_MAX : model->horizon[i];
	for (unsigned key = 0; key < model->key_count; key++) {
		const struct write *write = restart->numbers[key] == 0
		                                    ? NULL
		                                    : find_in(model, key, restart->numbers[key]);

		if (write != NULL && write->began > horizon[write->what.stream])
			horizon[write->what.stream] = write->began;
	}
}

bool kv_model_restarted(struct kv_model *model, const struct kv_model_restart *restart)
{
	uint64_t horizon[KV_MODEL_STREAMS_MAX];
	bool good = true;

	model->now++;
	find_horizon(model, restart, horizon);
	model->survives = horizon;
	for (unsigned key = 0; key < model->key_count; key++) {
		struct kv_model_seen seen = {
			.key = key,
			.number = restart->numbers[key],
			.since = model->now,
			.wall_ms_first = restart->wall_ms_first,
			.wall_ms_last = restart->wall_ms_last,
		};

		good = check(model, &seen, "after a restart") && good;
	}
	good = kv_model_whole(model, &(struct kv_model_snapshot){ .numbers = restart->numbers,
	                                                          .last = model->key_count - 1,
	                                                          .since = model->now }) &&
	       good;
	model->survives = NULL;
	if (!restart->decides)
		return good;
	for (unsigned i = 0; i < KV_MODEL_STREAMS_MAX; i++)
		model->horizon[i] = model->now;
	for (unsigned key = 0; key < model->key_count; key++) {
		settle(model, key, restart->numbers[key]);
		model->keys[key].unknown = false;
	}
	model->now++;
	return good;
}

void kv_model_reset(struct kv_model *model)
{
	for (unsigned key = 0; key < model->key_count; key++)
		model->keys[key].unknown = true;
}

void kv_model_prune(struct kv_model *model, uint64_t since)
{
	/* What a restart may bring back is not forgotten. */
	model->survives = model->horizon;
	for (unsigned key = 0; key < model->key_count; key++) {
		struct write *write = TAILQ_FIRST(&model->keys[key].writes), *next;

		for (; write != NULL; write = next) {
			next = TAILQ_NEXT(write, link);
			if (write->fate == FATE_ACKED && write->ended < since &&
			    successor(model, write, since) != NULL)
				forget(model, write);
		}
	}
	model->survives = NULL;
}

void kv_model_stats(const struct kv_model *model, struct kv_model_stats *out)
{
	*out = model->stats;
}
