/* SPDX-License-Identifier: Apache-2.0 */
#include "server/s3_sweep.h"

#include <stdlib.h>

#include "base/assert.h"
#include "base/macros.h"
#include "core/worker.h"
#include "server/s3_internal.h"

enum {
	PAGE = 64,         /* entries that are looked at before what is due of them is removed */
	PAUSES_A_DAY = 24, /* a walk begins as often as that */
};
#define PAUSE_MIN_NS (1000ull * 1000 * 1000)

/* Something that is due, or may be when its tags are known. */
struct due {
	uint8_t op; /* enum obj_op */
	bool marker, latest, null, look;
	uint64_t version, upload, size, created_ms;
	uint16_t name_size;
	char name[OBJ_NAME_MAX];
};

enum walk { WALK_VERSIONS, WALK_UPLOADS };

/* Memory: from open to close. Thread: the worker's. */
struct s3_sweep {
	struct s3_server *server;
	struct timer timer;
	struct req req;
	void (*next)(struct s3_sweep *sweep);
	bool running, stopped;
	struct obj_list list;
	struct obj_put put;
	enum walk walk;
	char bucket[OBJ_BUCKET_NAME_MAX];
	size_t bucket_size;
	bool bucket_found;
	uint8_t *document; /* as it was stored */
	uint8_t *decoded;  /* the copy that rules are read from */
	size_t document_size;
	char after[OBJ_NAME_MAX];
	size_t after_size;
	uint64_t after_id;
	/* The version before the one that is visited, of the same name. */
	char previous[OBJ_NAME_MAX];
	size_t previous_size;
	uint64_t previous_created_ms, noncurrent_count;
	struct due *lone_marker; /* the newest, a marker: due if nothing is behind it */
	struct due due[PAGE];
	uint32_t due_count, due_next;
	bool tags_found, more;
	uint8_t tags[8192];
	size_t tags_size;
};

struct sweep_frame {
	struct frame frame;
};

static void landed(struct req *req)
{
	struct s3_sweep *sweep = container_of(req, struct s3_sweep, req);

	req_pop(req, struct sweep_frame);
	sweep->running = false;
	if (!sweep->stopped)
		sweep->next(sweep);
}

static void submit(struct s3_sweep *sweep, struct obj_cmd *cmd, void (*next)(struct s3_sweep *))
{
	assert(!sweep->running);
	sweep->running = true;
	sweep->next = next;
	if (cmd->op != OBJ_BUCKET_LIST)
		cmd->bucket = bytes_of(sweep->bucket, sweep->bucket_size);
	req_init(&sweep->req, sweep->server->worker);
	req_push(&sweep->req, struct sweep_frame, landed);
	obj_submit(sweep->server->obj, &sweep->req, cmd);
}

static void begin_walk(struct timer *timer);

static void pause_walk(struct s3_sweep *sweep)
{
	uint64_t pause = sweep->server->options.lifecycle_day_ns / PAUSES_A_DAY;

	if (pause < PAUSE_MIN_NS)
		pause = PAUSE_MIN_NS;
	timer_arm(&sweep->server->worker->timers, &sweep->timer,
	          sweep->server->worker->now_ns + pause, begin_walk);
}

static uint64_t day_ms(const struct s3_sweep *sweep)
{
	uint64_t ms = sweep->server->options.lifecycle_day_ns / 1000000;

	return ms == 0 ? 1 : ms;
}

/* Rules are read again for each question: they lie decoded in place, in a copy. */
static void read_rules(struct s3_sweep *sweep, struct s3_lifecycle *lifecycle)
{
	memcpy(sweep->decoded, sweep->document, sweep->document_size);
	s3_lifecycle_init(lifecycle, sweep->decoded, sweep->document_size);
}

static bool is_past(const struct s3_sweep *sweep, uint64_t from_ms, uint64_t days)
{
	return s3_lifecycle_due_ms(from_ms, days, day_ms(sweep)) <= sweep->server->worker->wall_ms;
}

/* What a rule wants of a current version. */
static bool expires(const struct s3_sweep *sweep, const struct s3_lifecycle_rule *rule,
                    uint64_t created_ms)
{
	if (rule->expire_days > 0)
		return is_past(sweep, created_ms, rule->expire_days);
	return rule->expire_date_s > 0 &&
	       rule->expire_date_s * 1000 <= sweep->server->worker->wall_ms;
}

static bool wants(const struct s3_sweep *sweep, const struct s3_lifecycle_rule *rule,
                  const struct due *due)
{
	if (due->marker && due->latest)
		return rule->delete_marker || expires(sweep, rule, due->created_ms);
	if (due->latest)
		return expires(sweep, rule, due->created_ms);
	return rule->noncurrent_days > 0 && sweep->noncurrent_count > rule->noncurrent_keep &&
	       is_past(sweep, sweep->previous_created_ms, rule->noncurrent_days);
}

/* Whether a rule is for it; due->look: only if its tags are right. */
static bool is_due(struct s3_sweep *sweep, struct due *due)
{
	struct s3_lifecycle lifecycle;
	struct s3_lifecycle_rule rule;
	const struct s3_lifecycle_object object = {
		.name = bytes_of(due->name, due->name_size),
		.size = due->size,
	};

	due->look = false;
	read_rules(sweep, &lifecycle);
	while (s3_lifecycle_next(&lifecycle, &rule)) {
		bool tagged = rule.tag_count > 0;

		if (tagged && due->marker)
			continue;
		rule.tag_count = 0;
		if (due->marker)
			rule.size_above = 0, rule.size_below = UINT64_MAX;
		if (!s3_lifecycle_applies(&rule, &object) || !wants(sweep, &rule, due))
			continue;
		due->look = tagged;
		if (!tagged)
			return true;
	}
	return due->look;
}

static void drop_lone_marker(struct s3_sweep *sweep)
{
	if (sweep->lone_marker == NULL)
		return;
	assert(sweep->lone_marker == &sweep->due[sweep->due_count - 1]);
	sweep->due_count--;
	sweep->lone_marker = NULL;
}

static void visit_version(void *visitor, const struct obj_entry *entry)
{
	struct s3_sweep *sweep = visitor;
	struct s3_brief brief;
	struct due *due;
	bool same = entry->name.size == sweep->previous_size &&
	            memcmp(entry->name.data, sweep->previous, entry->name.size) == 0;

	memcpy(sweep->after, entry->name.data, entry->name.size);
	sweep->after_size = entry->name.size;
	sweep->after_id = entry->meta.version;
	if (same)
		drop_lone_marker(sweep);
	sweep->lone_marker = NULL;
	sweep->noncurrent_count = same ? sweep->noncurrent_count + 1 : 0;
	assert(sweep->due_count < PAGE);
	s3_brief_parse(&brief, entry->meta.brief);
	due = &sweep->due[sweep->due_count];
	*due = (struct due){
		.op = OBJ_DELETE,
		.marker = entry->meta.flags & OBJ_IS_MARKER,
		.latest = entry->meta.flags & OBJ_IS_LATEST,
		.null = entry->meta.flags & OBJ_IS_NULL,
		.version = entry->meta.version,
		.size = s3_size_of(&brief, entry->meta.size),
		.created_ms = entry->meta.created_ms,
		.name_size = (uint16_t)entry->name.size,
	};
	memcpy(due->name, entry->name.data, entry->name.size);
	if (is_due(sweep, due)) {
		sweep->due_count++;
		if (due->marker && due->latest)
			sweep->lone_marker = due;
	}
	memcpy(sweep->previous, entry->name.data, entry->name.size);
	sweep->previous_size = entry->name.size;
	sweep->previous_created_ms = entry->meta.created_ms;
}

static void visit_upload(void *visitor, const struct obj_entry *entry)
{
	struct s3_sweep *sweep = visitor;
	struct due *due = &sweep->due[sweep->due_count];
	struct s3_lifecycle lifecycle;
	struct s3_lifecycle_rule rule;
	bool found = false;

	memcpy(sweep->after, entry->name.data, entry->name.size);
	sweep->after_size = entry->name.size;
	sweep->after_id = entry->meta.version;
	read_rules(sweep, &lifecycle);
	while (s3_lifecycle_next(&lifecycle, &rule))
		found |= rule.enabled && rule.abort_days > 0 && rule.tag_count == 0 &&
		         bytes_starts_with(entry->name, rule.prefix) &&
		         is_past(sweep, entry->meta.created_ms, rule.abort_days);
	if (!found)
		return;
	assert(sweep->due_count < PAGE);
	*due = (struct due){
		.op = OBJ_UPLOAD_ABORT,
		.upload = entry->meta.version,
		.name_size = (uint16_t)entry->name.size,
	};
	memcpy(due->name, entry->name.data, entry->name.size);
	sweep->due_count++;
}

static void next_bucket(struct s3_sweep *sweep);
static void next_page(struct s3_sweep *sweep);
static void next_due(struct s3_sweep *sweep);

static void remove_one(struct s3_sweep *sweep, const struct due *due)
{
	struct obj_cmd cmd = {
		.op = due->op,
		.name = bytes_of(due->name, due->name_size),
		.upload = due->upload,
		.put = due->op == OBJ_DELETE ? &sweep->put : NULL,
	};

	sweep->put = (struct obj_put){ 0 };
	if (due->op == OBJ_DELETE && due->latest && !due->marker) {
		/* Whatever came after it was looked at is not due. */
		sweep->put.condition.flags = OBJ_IF_VERSION;
		sweep->put.condition.version = due->version;
	} else if (due->op == OBJ_DELETE) {
		cmd.version = due->null ? 0 : due->version;
		cmd.flags = due->null ? OBJ_NULL_VERSION : 0;
	}
	submit(sweep, &cmd, next_due);
}

static void visit_tags(void *visitor, const struct obj_entry *entry)
{
	struct s3_sweep *sweep = visitor;
	struct bytes tags = obj_attribute_get(entry->meta.attributes, S3_ATTRIBUTE_TAGS);

	sweep->tags_found = tags.size <= sizeof(sweep->tags);
	sweep->tags_size = sweep->tags_found ? tags.size : 0;
	if (sweep->tags_size > 0)
		memcpy(sweep->tags, tags.data, sweep->tags_size);
}

static void tags_known(struct s3_sweep *sweep)
{
	const struct due *due = &sweep->due[sweep->due_next - 1];
	const struct s3_lifecycle_object object = {
		.name = bytes_of(due->name, due->name_size),
		.tags = bytes_of(sweep->tags, sweep->tags_size),
		.size = due->size,
	};
	struct s3_lifecycle lifecycle;
	struct s3_lifecycle_rule rule;
	bool found = false;

	if (sweep->req.status == STATUS_OK && sweep->tags_found) {
		read_rules(sweep, &lifecycle);
		/* A noncurrent version was due by its age when it was visited. */
		while (s3_lifecycle_next(&lifecycle, &rule))
			found |= s3_lifecycle_applies(&rule, &object) &&
			         (due->latest ? expires(sweep, &rule, due->created_ms)
			                      : rule.noncurrent_days > 0);
	}
	if (found)
		remove_one(sweep, due);
	else
		next_due(sweep);
}

static void next_due(struct s3_sweep *sweep)
{
	while (sweep->due_next < sweep->due_count) {
		const struct due *due = &sweep->due[sweep->due_next++];
		struct obj_cmd cmd = {
			.op = OBJ_HEAD,
			.name = bytes_of(due->name, due->name_size),
			.version = due->null ? 0 : due->version,
			.flags = due->null ? OBJ_NULL_VERSION : 0,
			.visit = visit_tags,
			.visitor = sweep,
		};

		if (!due->look) {
			remove_one(sweep, due);
			return;
		}
		sweep->tags_found = false;
		submit(sweep, &cmd, tags_known);
		return;
	}
	next_page(sweep);
}

static void page_seen(struct s3_sweep *sweep)
{
	bool more = sweep->req.status == STATUS_OK && sweep->req.result != 0;

	/* What is behind a marker at the end of a page is not known yet: the next page begins
	 * there. */
	if (more && sweep->lone_marker != NULL)
		drop_lone_marker(sweep);
	sweep->lone_marker = NULL;
	sweep->more = more;
	sweep->due_next = 0;
	next_due(sweep);
}

static void list_page(struct s3_sweep *sweep)
{
	struct obj_cmd cmd = {
		.op = sweep->walk == WALK_VERSIONS ? OBJ_LIST_VERSIONS : OBJ_LIST_UPLOADS,
		.list = &sweep->list,
		.visit = sweep->walk == WALK_VERSIONS ? visit_version : visit_upload,
		.visitor = sweep,
	};

	sweep->list = (struct obj_list){
		.after = bytes_of(sweep->after, sweep->after_size),
		.after_id = sweep->after_id,
		.limit = PAGE,
	};
	sweep->due_count = 0;
	submit(sweep, &cmd, page_seen);
}

static void start_walk(struct s3_sweep *sweep, enum walk walk)
{
	sweep->walk = walk;
	sweep->after_size = 0;
	sweep->after_id = 0;
	sweep->previous_size = 0;
	sweep->noncurrent_count = 0;
	sweep->lone_marker = NULL;
	list_page(sweep);
}

static void next_page(struct s3_sweep *sweep)
{
	if (sweep->more)
		list_page(sweep);
	else if (sweep->walk == WALK_VERSIONS)
		start_walk(sweep, WALK_UPLOADS);
	else
		next_bucket(sweep);
}

static void visit_document(void *visitor, const struct obj_entry *entry)
{
	struct s3_sweep *sweep = visitor;

	assert(entry->document.size <= OBJ_DOCUMENT_MAX);
	if (entry->document.size > 0)
		memcpy(sweep->document, entry->document.data, entry->document.size);
	sweep->document_size = entry->document.size;
}

static void document_known(struct s3_sweep *sweep)
{
	if (sweep->req.status != STATUS_OK || sweep->document_size == 0)
		next_bucket(sweep);
	else
		start_walk(sweep, WALK_VERSIONS);
}

static void visit_bucket(void *visitor, const struct obj_entry *entry)
{
	struct s3_sweep *sweep = visitor;

	memcpy(sweep->bucket, entry->name.data, entry->name.size);
	sweep->bucket_size = entry->name.size;
	sweep->bucket_found = true;
	sweep->more = entry->bucket.documents >> S3_DOCUMENT_LIFECYCLE & 1;
}

static void bucket_known(struct s3_sweep *sweep)
{
	struct obj_cmd cmd = {
		.op = OBJ_DOCUMENT_GET,
		.part = S3_DOCUMENT_LIFECYCLE,
		.visit = visit_document,
		.visitor = sweep,
	};

	if (sweep->req.status != STATUS_OK || !sweep->bucket_found) {
		pause_walk(sweep);
		return;
	}
	if (!sweep->more) {
		next_bucket(sweep);
		return;
	}
	sweep->document_size = 0;
	submit(sweep, &cmd, document_known);
}

static void next_bucket(struct s3_sweep *sweep)
{
	struct obj_cmd cmd = {
		.op = OBJ_BUCKET_LIST,
		.list = &sweep->list,
		.visit = visit_bucket,
		.visitor = sweep,
	};

	/* The last one's name is where to go on, and is overwritten by the visit. */
	memcpy(sweep->after, sweep->bucket, sweep->bucket_size);
	sweep->list = (struct obj_list){
		.after = bytes_of(sweep->after, sweep->bucket_size),
		.limit = 1,
	};
	sweep->bucket_found = false;
	submit(sweep, &cmd, bucket_known);
}

static void begin_walk(struct timer *timer)
{
	struct s3_sweep *sweep = container_of(timer, struct s3_sweep, timer);

	sweep->bucket_size = 0;
	next_bucket(sweep);
}

struct s3_sweep *s3_sweep_open(struct s3_server *server)
{
	struct s3_sweep *sweep = calloc(1, sizeof(*sweep));

	if (sweep == NULL)
		return NULL;
	sweep->server = server;
	sweep->document = malloc(OBJ_DOCUMENT_MAX);
	sweep->decoded = malloc(OBJ_DOCUMENT_MAX);
	if (sweep->document == NULL || sweep->decoded == NULL) {
		s3_sweep_close(sweep);
		return NULL;
	}
	return sweep;
}

void s3_sweep_close(struct s3_sweep *sweep)
{
	assert(!sweep->running);
	free(sweep->document);
	free(sweep->decoded);
	free(sweep);
}

void s3_sweep_start(struct s3_sweep *sweep)
{
	pause_walk(sweep);
}

void s3_sweep_stop(struct s3_sweep *sweep)
{
	sweep->stopped = true;
	timer_cancel(&sweep->server->worker->timers, &sweep->timer);
}

bool s3_sweep_is_idle(const struct s3_sweep *sweep)
{
	return !sweep->running;
}
