/* SPDX-License-Identifier: Apache-2.0 */
/* The records of a kv in memory: a sorted array, with values that are shared and counted. */
#ifndef TESTS_KV_MEM_TABLE_H
#define TESTS_KV_MEM_TABLE_H

#include "proto/kv.h"

/* The bytes of a value: shared by its record and the handles that pin it. */
struct value {
	unsigned refs;
	bool blob;
	size_t size, room;
	uint8_t *data;
};

struct record {
	struct bytes key; /* owned */
	struct value *value;
	uint64_t version, expires_ms;
	uint8_t kind;
};

struct table {
	struct record *records; /* sorted by key */
	size_t count, room;
	uint64_t version; /* the last one given out */
	uint64_t now_ms;  /* wall clock: what has expired is absent */
};

void *take(size_t size); /* zeroed; aborts without memory */

struct value *value_take(struct bytes bytes, bool blob);
void value_unref(struct value *value);

/* The first record that is not before `key`. */
size_t table_lower_bound(const struct table *table, struct bytes key);
bool record_is_expired(const struct table *table, const struct record *record);
void record_remove(struct table *table, size_t index);

/* The live record of `key`, or NULL; one that has expired is removed. */
/* The same of one whose time has passed. */
struct record *record_expired(struct table *table, struct bytes key);
struct record *record_find(struct table *table, struct bytes key);

/* Makes `value`, whose ref it takes over, the value of `key`. */
struct record *record_store(struct table *table, struct bytes key, struct value *value,
                            uint64_t expires_ms, uint8_t kind);

/* What a visit sees of a record, or with NULL of an absent key. */
struct kv_entry record_entry(const struct record *record, struct bytes key, bool load);

#endif
