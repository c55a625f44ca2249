/* SPDX-License-Identifier: Apache-2.0 */
/* What commands tell of themselves beside their rows: documentation, and where their keys stand. */
#ifndef SERVER_RESP_DOCS_H
#define SERVER_RESP_DOCS_H

#include <stdbool.h>

#include "base/bytes.h"

/* What a command does to the keys of one specification, as COMMAND tells it. */
enum {
	KEY_RO = 1 << 0,
	KEY_RW = 1 << 1,
	KEY_OW = 1 << 2,
	KEY_RM = 1 << 3,
	KEY_ACCESS = 1 << 4, /* its content is told, or what follows from it */
	KEY_UPDATE = 1 << 5,
	KEY_INSERT = 1 << 6,
	KEY_DELETE = 1 << 7,
	KEY_NOT_KEY = 1 << 8,    /* a channel of a shard */
	KEY_INCOMPLETE = 1 << 9, /* there may be more */
	KEY_VARIABLE = 1 << 10,  /* depends on the arguments */
};

/*
 * Where keys start: at a word of the call, or after a keyword; and how many they are: up to a last
 * word, or as a count among the words says.
 */
struct resp_key_spec {
	uint16_t flags;
	struct {
		const char *keyword; /* upper case; NULL: at the word `index` */
		int8_t index; /* where to look for the keyword: < 0: backwards from the end */
	} begin;
	struct {
		bool counted;
		int8_t last;  /* range: from the first key; < 0: from the end. Counted: the count */
		int8_t step;  /* range: between keys. Counted: the first key, from the start */
		int8_t limit; /* range with last -1: 2: the first half. Counted: between keys */
	} find;
};

struct resp_doc {
	const char *name; /* as the row's: "client|list" */
	const char *since, *group, *complexity;
	const struct resp_key_spec *keys;
	uint32_t key_count; /* of keys: specifications */
	const char *summary;
};

const struct resp_doc *resp_doc_find(struct bytes name); /* any case; NULL: none */

/* Called for each key: its index among the words. False ends the search. */
typedef bool resp_key_fn(void *owner, uint32_t index, uint16_t flags);

/*
 * Finds the keys among the words of a call, whose count fits the command. Returns whether all
 * specifications made sense; a call that the command will refuse may have none that do.
 */
struct resp_words {
	const struct bytes *argv;
	uint32_t argc;
};
bool resp_keys_find(const struct resp_doc *doc, struct resp_words words, resp_key_fn *found,
                    void *owner);

#endif
