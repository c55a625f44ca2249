/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Lists. The names of a bucket are in a few partitions and, of versions, in three spaces: each is a
 * cursor, whose next entries are copied to memory, and what they hold is merged. A cursor that has
 * run out is filled again from behind the last entry that was told; so only the entry that was told
 * last must be remembered, and a common prefix is passed by going on behind it.
 *
 * Versions move between the spaces. When one of their cursors has run out all are filled again, the
 * newest versions first: a version goes from there to the older ones, and stays there when it
 * comes back, so it is seen in one or both; and what is seen in both is told once.
 */
#include "base/assert.h"
#include "engine/obj_state.h"

enum {
	CURSORS_MAX = 3 * OBJ_SPREAD_MAX,
	LIST_SIZE = 256 << 10,
	HEAD_MAX = OBJ_KEY_HEAD,
	SCAN_MIN = 4, /* entries asked for where a common prefix was passed */
	SCAN_MAX = 400,
};

/* Behind what the list has come. */
enum list_mark {
	AT_START,
	AFTER_ENTRY,  /* this name with this number */
	AFTER_NAME,   /* all of this name */
	AFTER_PREFIX, /* all names that begin so */
};

struct item {
	uint32_t size; /* with the header, padded to 8 */
	uint16_t name_size, value_size;
	uint64_t number;  /* version or upload; 0: of neither */
	uint64_t version; /* of the key */
	uint8_t data[];   /* name, value */
};

struct list_cursor {
	uint8_t space; /* enum obj_space */
	uint8_t head_size;
	uint16_t partition;
	uint32_t used, next; /* bytes of items; where the first one not told is */
	bool complete;       /* nothing is behind them */
	bool cut;            /* not all that a scan found had room */
	uint32_t found;      /* by the last scan */
	uint8_t head[HEAD_MAX];
	uint8_t *data;
};

struct list {
	struct obj_call *call;
	uint32_t cursor_count, filling; /* the cursor that is filled */
	uint32_t cursor_size;           /* bytes of data of each */
	uint32_t told, chunk;
	bool all_again; /* versions: all cursors are filled together */
	bool ascending; /* uploads: of a name, lower numbers first */
	uint8_t mark;   /* enum list_mark */
	uint16_t name_size;
	uint64_t number;
	uint8_t name[OBJ_NAME_MAX];
	struct obj_key end;
	struct list_cursor cursors[CURSORS_MAX];
	_Alignas(8) uint8_t data[];
};

_Static_assert((LIST_SIZE - sizeof(struct list)) / CURSORS_MAX >
                       sizeof(struct item) + OBJ_NAME_MAX + OBJ_RECORD_HEADER + OBJ_ETAG_MAX +
                               OBJ_BRIEF_MAX + 8,
               "the largest entry has room, however many cursors there are");
_Static_assert(LIST_SIZE - sizeof(struct list) > OBJ_RECORD_MAX + 64, "and a whole part");

static struct list *list_of(struct obj_call *call)
{
	return (struct list *)(void *)call->work->data;
}

static struct bytes list_name(const struct list *list)
{
	return bytes_of(list->name, list->name_size);
}

static void set_mark(struct list *list, enum list_mark mark, struct bytes name, uint64_t number)
{
	assert(name.size <= sizeof(list->name));
	list->mark = (uint8_t)mark;
	list->name_size = (uint16_t)name.size;
	list->number = number;
	if (name.size > 0)
		memmove(list->name, name.data, name.size);
}

static bool has_prefix(struct bytes name, struct bytes prefix)
{
	return name.size >= prefix.size &&
	       (prefix.size == 0 || memcmp(name.data, prefix.data, prefix.size) == 0);
}

/* Items. */

static struct item *item_at(const struct list_cursor *cursor)
{
	if (cursor->next == cursor->used)
		return NULL;
	return (struct item *)(void *)(cursor->data + cursor->next);
}

static struct bytes item_name(const struct item *item)
{
	return bytes_of(item->data, item->name_size);
}

static struct bytes item_value(const struct item *item)
{
	return bytes_of(item->data + item->name_size, item->value_size);
}

static int compare_numbers(const struct list *list, uint64_t a, uint64_t b)
{
	if (a == b)
		return 0;
	return (a < b) == list->ascending ? -1 : 1;
}

static bool is_told(const struct list *list, const struct item *item)
{
	int order;

	switch ((enum list_mark)list->mark) {
	case AT_START:
		return false;
	case AFTER_PREFIX:
		if (has_prefix(item_name(item), list_name(list)))
			return true;
		return bytes_compare(item_name(item), list_name(list)) < 0;
	case AFTER_NAME:
		return bytes_compare(item_name(item), list_name(list)) <= 0;
	case AFTER_ENTRY:
		order = bytes_compare(item_name(item), list_name(list));
		return order < 0 ||
		       (order == 0 && compare_numbers(list, item->number, list->number) <= 0);
	}
	unreachable();
}

/* Where the keys' owner is: copies to the cursor what is needed of an entry. */
static void cursor_visit(void *visitor, const struct kv_entry *entry, struct kv_edit *edit)
{
	struct list *list = visitor;
	struct list_cursor *cursor = &list->cursors[list->filling];
	struct item *item = (struct item *)(void *)(cursor->data + cursor->used);
	bool numbered = cursor->space == OBJ_SPACE_VERSIONS || cursor->space == OBJ_SPACE_UPLOADS;
	bool whole = cursor->space == OBJ_SPACE_BUCKETS || cursor->space == OBJ_SPACE_PARTS;
	size_t value_size = whole ? entry->value.size : obj_record_start_size(entry->value);
	struct bytes name =
	        bytes_of(entry->key.data + cursor->head_size, entry->key.size - cursor->head_size);
	struct obj_record record;
	uint64_t number = 0;
	size_t size;

	(void)edit;
	cursor->found++;
	if (numbered)
		name = obj_key_numbered_name(entry->key, &number);
	else if (!whole && obj_record_decode_start(entry->value, &record) == STATUS_OK)
		number = record.version;
	size = (sizeof(*item) + name.size + value_size + 7) / 8 * 8;
	if (cursor->cut || size > list->cursor_size - cursor->used) {
		cursor->cut = true;
		return;
	}
	*item = (struct item){
		.size = (uint32_t)size,
		.name_size = (uint16_t)name.size,
		.value_size = (uint16_t)value_size,
		.number = number,
		.version = entry->version,
	};
	memcpy(item->data, name.data, name.size);
	memcpy(item->data + name.size, entry->value.data, value_size);
	cursor->used += (uint32_t)size;
}

/* Cursors. */

/* The first key of the cursor behind the mark. */
static void cursor_from(const struct list *list, const struct list_cursor *cursor,
                        struct obj_key *key)
{
	const struct obj_list *asked = list->call->cmd.list;
	bool numbered = cursor->space == OBJ_SPACE_VERSIONS || cursor->space == OBJ_SPACE_UPLOADS;

	key->size = 0;
	obj_key_add(key, bytes_of(cursor->head, cursor->head_size));
	if (list->mark == AT_START || bytes_compare(list_name(list), asked->prefix) < 0) {
		obj_key_add(key, asked->prefix);
		return;
	}
	obj_key_add(key, list_name(list));
	if (list->mark == AFTER_PREFIX) {
		obj_key_skip(key);
	} else if (list->mark == AFTER_NAME || cursor->space == OBJ_SPACE_PARTS) {
		obj_key_add_number(key, numbered, 1); /* numbers follow a 0, longer names a 1 */
	} else if (numbered) {
		if (cursor->space == OBJ_SPACE_VERSIONS)
			obj_key_add_version(key, list->number);
		else
			obj_key_add_upload(key, list->number);
		obj_key_add_number(key, 0, 1);
	}
}

static void list_run(struct list *list);

static void cursor_filled(struct obj_call *call)
{
	struct list *list = list_of(call);
	struct list_cursor *cursor = &list->cursors[list->filling];

	if (obj_call_failed(call))
		return;
	cursor->complete = !cursor->cut && cursor->found < list->chunk;
	list->filling++;
	list_run(list);
}

/* False: there is nothing to ask for. */
static bool cursor_fill(struct list *list, struct list_cursor *cursor)
{
	struct obj_call *call = list->call;
	struct kv_cmd cmd = {
		.op = KV_SCAN,
		.flags = KV_SCAN_PARTITION,
		.partition = cursor->partition,
		.limit = list->chunk,
		.visit = cursor_visit,
		.visitor = list,
	};

	cursor->used = cursor->next = cursor->found = 0;
	cursor->cut = false;
	cursor_from(list, cursor, &call->key);
	list->end.size = 0;
	obj_key_add(&list->end, bytes_of(cursor->head, cursor->head_size));
	obj_key_add(&list->end, call->cmd.list->prefix);
	obj_key_skip(&list->end);
	cmd.key = obj_key_bytes(&call->key);
	cmd.end = obj_key_bytes(&list->end);
	if (bytes_compare(cmd.key, cmd.end) >= 0) {
		cursor->complete = true;
		return false;
	}
	obj_call_kv(call, &cmd, cursor_filled);
	return true;
}

static void pass_told(struct list *list, struct list_cursor *cursor)
{
	const struct item *item;

	while ((item = item_at(cursor)) != NULL && is_told(list, item))
		cursor->next += item->size;
}

static bool is_empty(const struct list_cursor *cursor)
{
	return cursor->next == cursor->used && !cursor->complete;
}

/* From cursor list->filling on, those that want it. False: a scan is under way. */
static bool list_fill(struct list *list)
{
	for (; list->filling < list->cursor_count; list->filling++) {
		struct list_cursor *cursor = &list->cursors[list->filling];

		if ((list->all_again || is_empty(cursor)) && cursor_fill(list, cursor))
			return false;
	}
	return true;
}

/* Telling. */

static bool tell_record(struct obj_call *call, const struct list_cursor *cursor,
                        const struct item *item, struct obj_entry *entry)
{
	const struct list *list = list_of(call);
	bool newest = cursor->space == OBJ_SPACE_CURRENT || cursor->space == OBJ_SPACE_MARKERS;
	struct obj_record record;

	if (obj_record_decode_start(item_value(item), &record) != STATUS_OK)
		return false;
	entry->kind = cursor->space == OBJ_SPACE_UPLOADS ? OBJ_UPLOAD : OBJ_OBJECT;
	obj_record_meta(&record, &entry->meta);
	/* Between two looks at the spaces the newest may have become an older one. */
	if (newest && !(list->mark == AFTER_ENTRY && bytes_equal(entry->name, list_name(list))))
		entry->meta.flags |= OBJ_IS_LATEST;
	return true;
}

static bool tell_bucket(const struct item *item, struct obj_entry *entry)
{
	struct obj_bucket_record record;

	if (obj_bucket_decode(item_value(item), &record) != STATUS_OK)
		return false;
	entry->kind = OBJ_BUCKET;
	entry->bucket = (struct obj_bucket){
		.created_ms = record.created_ms,
		.version = item->version,
		.documents = record.documents,
		.versioning = record.versioning,
		.locks = record.locks,
		.label = record.label,
	};
	return true;
}

static bool tell(struct obj_call *call, const struct list_cursor *cursor, const struct item *item)
{
	struct obj_entry entry = { .name = item_name(item) };
	struct obj_record part;
	bool known;

	switch (cursor->space) {
	case OBJ_SPACE_PARTS:
		if (obj_record_decode(item_value(item), &part) != STATUS_OK)
			return false;
		obj_call_visit_part(call, &part, 0);
		return true;
	case OBJ_SPACE_BUCKETS:
		known = tell_bucket(item, &entry);
		break;
	default:
		known = tell_record(call, cursor, item, &entry);
		break;
	}
	if (known)
		obj_call_visit(call, &entry);
	return known;
}

/* The common prefix that a name has, with its delimiter; size 0: none. */
static struct bytes common_prefix(const struct obj_list *asked, struct bytes name)
{
	struct bytes rest =
	        bytes_of(name.data + asked->prefix.size, name.size - asked->prefix.size);
	const uint8_t *found;

	if (asked->delimiter.size == 0 || rest.size == 0)
		return (struct bytes){ NULL, 0 };
	found = memmem(rest.data, rest.size, asked->delimiter.data, asked->delimiter.size);
	if (found == NULL)
		return (struct bytes){ NULL, 0 };
	return bytes_of(name.data, (size_t)(found - name.data) + asked->delimiter.size);
}

static struct list_cursor *first_cursor(struct list *list)
{
	struct list_cursor *first = NULL;

	for (uint32_t i = 0; i < list->cursor_count; i++) {
		struct list_cursor *cursor = &list->cursors[i];
		const struct item *item = item_at(cursor);
		int order;

		if (item == NULL)
			continue;
		if (first != NULL) {
			order = bytes_compare(item_name(item), item_name(item_at(first)));
			if (order == 0)
				order = compare_numbers(list, item->number, item_at(first)->number);
			if (order >= 0)
				continue;
		}
		first = cursor;
	}
	return first;
}

/* Whether all cursors have something to say, or never will. */
static bool list_is_full(struct list *list)
{
	for (uint32_t i = 0; i < list->cursor_count; i++) {
		pass_told(list, &list->cursors[i]);
		if (is_empty(&list->cursors[i]))
			return false;
	}
	return true;
}

/* False: the call was finished. */
static bool list_merge(struct list *list)
{
	struct obj_call *call = list->call;
	const struct obj_list *asked = call->cmd.list;
	bool numbered = call->cmd.op == OBJ_LIST_VERSIONS || call->cmd.op == OBJ_LIST_UPLOADS;

	while (list_is_full(list)) {
		struct list_cursor *cursor = first_cursor(list);
		struct obj_entry entry = { .kind = OBJ_PREFIX };
		const struct item *item;

		if (cursor == NULL || list->told == asked->limit) {
			obj_call_finish(call, STATUS_OK, cursor != NULL);
			return false;
		}
		item = item_at(cursor);
		entry.name = common_prefix(asked, item_name(item));
		if (entry.name.size > 0) {
			obj_call_visit(call, &entry);
			set_mark(list, AFTER_PREFIX, entry.name, 0);
			list->chunk = SCAN_MIN;
		} else if (tell(call, cursor, item)) {
			set_mark(list, numbered ? AFTER_ENTRY : AFTER_NAME, item_name(item),
			         item->number);
		} else {
			obj_call_finish(call, STATUS_CORRUPT, 0);
			return false;
		}
		list->told++;
	}
	list->chunk = list->chunk * 2 < SCAN_MAX ? list->chunk * 2 : SCAN_MAX;
	return true;
}

static void list_run(struct list *list)
{
	while (list_fill(list) && list_merge(list)) {
		enum status status = req_check(list->call->parent);

		list->filling = 0;
		if (status == STATUS_OK)
			continue;
		obj_call_finish(list->call, status, 0);
		return;
	}
}

/* Beginning. */

static void add_cursor(struct list *list, enum obj_space space, unsigned partition,
                       const struct obj_key *head)
{
	struct list_cursor *cursor = &list->cursors[list->cursor_count++];

	assert(list->cursor_count <= CURSORS_MAX);
	assert(head->size <= HEAD_MAX);
	*cursor = (struct list_cursor){
		.space = (uint8_t)space,
		.partition = (uint16_t)partition,
		.head_size = (uint8_t)head->size,
	};
	memcpy(cursor->head, head->data, head->size);
}

/* Where a page begins. */
static void list_start_mark(struct list *list)
{
	const struct obj_list *asked = list->call->cmd.list;
	struct bytes prefix = { NULL, 0 };

	if (asked->after.size == 0)
		return;
	if (has_prefix(asked->after, asked->prefix))
		prefix = common_prefix(asked, asked->after);
	if (prefix.size == asked->after.size)
		set_mark(list, AFTER_PREFIX, prefix, 0);
	else
		set_mark(list, asked->after_id != 0 ? AFTER_ENTRY : AFTER_NAME, asked->after,
		         asked->after_id);
}

static struct list *list_begin(struct obj_call *call)
{
	struct list *list;

	if (!obj_call_work(call, &call->work, LIST_SIZE))
		return NULL;
	list = list_of(call);
	memset(list, 0, offsetof(struct list, name));
	list->call = call;
	return list;
}

static void list_start(struct list *list)
{
	const struct obj_list *asked = list->call->cmd.list;
	uint64_t share = (uint64_t)asked->limit / list->cursor_count;

	list->cursor_size = (uint32_t)((LIST_SIZE - sizeof(*list)) / list->cursor_count) & ~7u;
	for (uint32_t i = 0; i < list->cursor_count; i++)
		list->cursors[i].data = list->data + (size_t)i * list->cursor_size;
	/* A little more than an even share, so that one round is enough for most pages. */
	share += share / 4 + 2 * SCAN_MIN;
	list->chunk = share < SCAN_MAX ? (uint32_t)share : SCAN_MAX;
	list_run(list);
}

static void list_placed(struct obj_call *call)
{
	static const enum obj_space versions[] = { OBJ_SPACE_CURRENT, OBJ_SPACE_MARKERS,
		                                   OBJ_SPACE_VERSIONS };
	static const enum obj_space uploads[] = { OBJ_SPACE_UPLOADS };
	const enum obj_space *spaces = call->cmd.op == OBJ_LIST_UPLOADS ? uploads : versions;
	unsigned count = call->cmd.op == OBJ_LIST_VERSIONS ? 3 : 1;
	struct list *list = list_begin(call);
	struct obj_key head;

	if (list == NULL)
		return;
	list->all_again = count > 1;
	list->ascending = call->cmd.op == OBJ_LIST_UPLOADS;
	for (unsigned s = 0; s < count; s++) {
		for (unsigned i = 0; i < call->bucket_spread; i++) {
			unsigned partition = obj_bucket_partition(call, i);

			obj_key_begin(&head, spaces[s], partition, call->bucket_id);
			add_cursor(list, spaces[s], partition, &head);
		}
	}
	list_start_mark(list);
	list_start(list);
}

void obj_list(struct obj_call *call)
{
	obj_call_bucket_record(call, list_placed);
}

void obj_bucket_list(struct obj_call *call)
{
	struct list *list = list_begin(call);
	struct obj_key head;

	if (list == NULL)
		return;
	obj_bucket_key((struct bytes){ NULL, 0 }, &head);
	add_cursor(list, OBJ_SPACE_BUCKETS, 0, &head);
	list_start_mark(list);
	list_start(list);
}

/* Parts are listed by number: their name is its two bytes. */
static void parts_found(struct obj_call *call)
{
	uint64_t after = call->cmd.list->after_id;
	struct list *list = list_begin(call);
	struct obj_key key;

	if (list == NULL)
		return;
	obj_key_begin(&key, OBJ_SPACE_PARTS, call->partition, call->cmd.upload);
	add_cursor(list, OBJ_SPACE_PARTS, call->partition, &key);
	key.size = 0;
	obj_key_add_number(&key, after < UINT16_MAX ? after : UINT16_MAX, 2);
	set_mark(list, AFTER_NAME, obj_key_bytes(&key), 0);
	list_start(list);
}

static void parts_placed(struct obj_call *call)
{
	obj_call_upload(call, parts_found);
}

void obj_upload_parts(struct obj_call *call)
{
	obj_call_bucket(call, parts_placed);
}
