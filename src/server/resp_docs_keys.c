/* SPDX-License-Identifier: Apache-2.0 */
/* Finds the keys among the words of a call, by the specifications of its command. */
#include "base/assert.h"
#include "server/number.h"
#include "server/resp_docs.h"

struct search {
	struct resp_words words;
	resp_key_fn *found;
	void *owner;
	bool stopped;
};

static bool is_word(struct bytes word, const char *upper)
{
	for (size_t i = 0; i < word.size; i++) {
		uint8_t c = word.data[i];

		if (c >= 'a' && c <= 'z')
			c = (uint8_t)(c & ~0x20);
		if (c == 0 || c != (uint8_t)upper[i])
			return false;
	}
	return upper[word.size] == '\0';
}

/* The word where the keys of a specification start, or 0: it is not there. */
static int64_t begin(const struct search *search, const struct resp_key_spec *spec)
{
	int64_t argc = search->words.argc, at = spec->begin.index;
	int step = at > 0 ? 1 : -1;

	if (spec->begin.keyword == NULL)
		return at;
	for (at = at > 0 ? at : argc + at; at > 0 && at < argc; at += step) {
		if (is_word(search->words.argv[at], spec->begin.keyword))
			return at + 1;
	}
	return 0;
}

/* What these words do to the key, where a specification leaves it open. */
static uint16_t settle_flags(const struct search *search, uint16_t flags)
{
	const struct bytes *argv = search->words.argv;
	bool reads = false, writes = false;

	if (!(flags & KEY_VARIABLE))
		return flags;
	if (is_word(argv[0], "SET")) {
		for (uint32_t i = 3; i < search->words.argc; i++)
			reads |= is_word(argv[i], "GET");
		return reads ? KEY_RW | KEY_ACCESS | KEY_UPDATE : KEY_OW | KEY_UPDATE;
	}
	for (uint32_t i = 2; i < search->words.argc; i++) /* BITFIELD */
		writes |= is_word(argv[i], "SET") || is_word(argv[i], "INCRBY");
	return writes ? KEY_RW | KEY_ACCESS | KEY_UPDATE : KEY_RO | KEY_ACCESS;
}

/* Shows keys first, first + step ... last; false when they are not all words of the call. */
static bool show(struct search *search, int64_t first, int64_t last, int64_t step, uint16_t flags)
{
	assert(step > 0 && first > 0);
	if (last < first || last >= search->words.argc)
		return false;
	flags = settle_flags(search, flags);
	for (int64_t at = first; at <= last && !search->stopped; at += step)
		search->stopped = !search->found(search->owner, (uint32_t)at, flags);
	return true;
}

static bool find_counted(struct search *search, const struct resp_key_spec *spec, int64_t first)
{
	int64_t at = first + spec->find.last, step = spec->find.limit, count;

	if (at >= search->words.argc)
		return false;
	if (!number_parse_int64(search->words.argv[at], &count) || count < 0 ||
	    count > search->words.argc)
		return false;
	if (count == 0)
		return true;
	first += spec->find.step;
	return show(search, first, first + (count - 1) * step, step, spec->flags);
}

static bool find_range(struct search *search, const struct resp_key_spec *spec, int64_t first)
{
	int64_t argc = search->words.argc, last = spec->find.last;

	if (last >= 0)
		last += first;
	else if (spec->find.limit == 0)
		last += argc;
	else
		last += first + (argc - first) / spec->find.limit;
	return show(search, first, last, spec->find.step, spec->flags);
}

/* SORT key ... STORE key: STORE may stand anywhere, also as a pattern of BY or GET. */
static void find_sort_store(struct search *search)
{
	const struct bytes *argv = search->words.argv;
	uint32_t store = 0;

	for (uint32_t i = 2; i < search->words.argc; i++) {
		if (is_word(argv[i], "LIMIT"))
			i += 2;
		else if (is_word(argv[i], "GET") || is_word(argv[i], "BY"))
			i++;
		else if (is_word(argv[i], "STORE") && i + 1 < search->words.argc)
			store = ++i;
	}
	if (store > 0 && !search->stopped)
		show(search, store, store, 1, KEY_OW | KEY_UPDATE);
}

bool resp_keys_find(const struct resp_doc *doc, struct resp_words words, resp_key_fn *found,
                    void *owner)
{
	struct search search = { words, found, owner, false };
	bool good = true;

	for (uint32_t i = 0; i < doc->key_count && !search.stopped; i++) {
		const struct resp_key_spec *spec = &doc->keys[i];
		int64_t first = begin(&search, spec);

		if (first == 0 || (spec->flags & KEY_NOT_KEY))
			continue;
		good &= spec->find.counted ? find_counted(&search, spec, first)
		                           : find_range(&search, spec, first);
	}
	if (strcmp(doc->name, "sort") == 0)
		find_sort_store(&search);
	return good;
}
