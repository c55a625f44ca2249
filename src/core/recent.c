/* SPDX-License-Identifier: Apache-2.0 */
#include "core/recent.h"

#include <string.h>

#include "base/assert.h"

_Static_assert(sizeof(struct recent_event) % sizeof(uint64_t) == 0, "an event is whole words");

void recent_put(struct recent *recent, uint64_t wall_ms, uint64_t duration_us, struct bytes text)
{
	uint64_t number = atomic_load_explicit(&recent->count, memory_order_relaxed);
	struct recent_slot *slot = &recent->slots[number % RECENT_MAX];
	struct recent_event event = {
		.wall_ms = wall_ms,
		.duration_us = duration_us,
		.size = text.size < RECENT_TEXT_MAX ? text.size : RECENT_TEXT_MAX,
	};
	uint64_t words[RECENT_WORDS];

	for (size_t i = 0; i < event.size; i++) {
		uint8_t c = text.data[i];

		event.text[i] = (char)(c < ' ' || c >= 0x7f ? '?' : c);
	}
	memcpy(words, &event, sizeof(words));
	assert(atomic_load_explicit(&slot->sequence, memory_order_relaxed) % 2 == 0);
	atomic_store_explicit(&slot->sequence, number * 2 + 1, memory_order_relaxed);
	/* Pairs with the fence in recent_get(): who sees a word of this event sees that it is
	 * being written, or a later sequence. */
	atomic_thread_fence(memory_order_release);
	for (unsigned i = 0; i < RECENT_WORDS; i++)
		atomic_store_explicit(&slot->words[i], words[i], memory_order_relaxed);
	/* Pairs with the acquire in recent_get(): the event is whole before it is seen. */
	atomic_store_explicit(&slot->sequence, number * 2 + 2, memory_order_release);
	atomic_store_explicit(&recent->count, number + 1, memory_order_release);
}

bool recent_get(const struct recent *recent, uint64_t number, struct recent_event *event)
{
	const struct recent_slot *slot = &recent->slots[number % RECENT_MAX];
	uint64_t words[RECENT_WORDS];

	if (atomic_load_explicit(&slot->sequence, memory_order_acquire) != number * 2 + 2)
		return false;
	for (unsigned i = 0; i < RECENT_WORDS; i++)
		words[i] = atomic_load_explicit(&slot->words[i], memory_order_relaxed);
	atomic_thread_fence(memory_order_acquire);
	if (atomic_load_explicit(&slot->sequence, memory_order_relaxed) != number * 2 + 2)
		return false;
	memcpy(event, words, sizeof(*event));
	assert(event->size <= RECENT_TEXT_MAX);
	return true;
}
