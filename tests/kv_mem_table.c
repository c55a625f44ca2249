/* SPDX-License-Identifier: Apache-2.0 */
#include "kv_mem_table.h"

#include <stdlib.h>

#include "base/assert.h"

void *take(size_t size)
{
	void *memory = calloc(1, size == 0 ? 1 : size);

	assert(memory != NULL);
	return memory;
}

struct value *value_take(struct bytes bytes, bool blob)
{
	struct value *value = take(sizeof(*value));

	*value = (struct value){
		.refs = 1, .blob = blob, .size = bytes.size, .data = take(bytes.size)
	};
	if (bytes.size > 0)
		memcpy(value->data, bytes.data, bytes.size);
	value->room = bytes.size;
	return value;
}

void value_unref(struct value *value)
{
	assert(value->refs > 0);
	if (--value->refs > 0)
		return;
	free(value->data);
	free(value);
}

size_t table_lower_bound(const struct table *table, struct bytes key)
{
	size_t first = 0, last = table->count;

	while (first < last) {
		size_t middle = first + (last - first) / 2;

		if (bytes_compare(table->records[middle].key, key) < 0)
			first = middle + 1;
		else
			last = middle;
	}
	return first;
}

bool record_is_expired(const struct table *table, const struct record *record)
{
	return record->expires_ms != 0 && record->expires_ms <= table->now_ms;
}

void record_remove(struct table *table, size_t index)
{
	struct record *record = &table->records[index];

	assert(index < table->count);
	free((void *)(uintptr_t)record->key.data);
	value_unref(record->value);
	memmove(record, record + 1, (table->count - index - 1) * sizeof(*record));
	table->count--;
}

struct record *record_find(struct table *table, struct bytes key)
{
	size_t index = table_lower_bound(table, key);

	if (index == table->count || !bytes_equal(table->records[index].key, key))
		return NULL;
	return record_is_expired(table, &table->records[index]) ? NULL : &table->records[index];
}

struct record *record_expired(struct table *table, struct bytes key)
{
	size_t index = table_lower_bound(table, key);

	if (index == table->count || !bytes_equal(table->records[index].key, key))
		return NULL;
	return record_is_expired(table, &table->records[index]) ? &table->records[index] : NULL;
}

struct record *record_store(struct table *table, struct bytes key, struct value *value,
                            uint64_t expires_ms, uint8_t kind)
{
	size_t index = table_lower_bound(table, key);
	struct record *record = index < table->count ? &table->records[index] : NULL;

	if (record == NULL || !bytes_equal(record->key, key)) {
		if (table->count == table->room) {
			table->room = table->room == 0 ? 64 : table->room * 2;
			table->records = realloc(table->records, table->room * sizeof(*record));
			assert(table->records != NULL);
		}
		record = &table->records[index];
		memmove(record + 1, record, (table->count - index) * sizeof(*record));
		table->count++;
		*record = (struct record){ .key = bytes_of(take(key.size), key.size) };
		memcpy((void *)(uintptr_t)record->key.data, key.data, key.size);
	} else {
		value_unref(record->value);
	}
	record->value = value;
	record->version = ++table->version;
	record->expires_ms = expires_ms;
	record->kind = kind;
	return record;
}

struct kv_entry record_entry(const struct record *record, struct bytes key, bool load)
{
	struct kv_entry entry = { .key = key };

	if (record == NULL)
		return entry;
	entry.size = record->value->size;
	entry.version = record->version;
	entry.expires_ms = record->expires_ms;
	entry.kind = record->kind;
	entry.blob = record->value->blob && !load;
	if (!entry.blob)
		entry.value = bytes_of(record->value->data, record->value->size);
	return entry;
}
