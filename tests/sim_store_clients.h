/* SPDX-License-Identifier: Apache-2.0 */
/* Clients that do random things to a store and tell a model of it. */
#ifndef TESTS_SIM_STORE_CLIENTS_H
#define TESTS_SIM_STORE_CLIENTS_H

#include "kv_model.h"
#include "sim_store_harness.h"

enum { COMMIT_BLOBS_MAX = 2 };

enum {
	STORE_KEY_MAX = 320,
	STORE_NUMBER_UNKNOWN = -1, /* of a value that was not in memory: nothing is checked */
	STORE_NUMBER_FORGED = -2,  /* of bytes that no write ever wrote */
};

struct store_clients;

struct store_clients *store_clients_open(const struct store_harness_options *options,
                                         struct kv_model *model,
                                         struct store_harness_result *result);
void store_clients_close(struct store_clients *clients);

/* The store is open: clients are spread over its workers. */
void store_clients_attach(struct store_clients *clients, const struct store_env *env,
                          const struct store_binding *binding, void *store);

/* Starts something on one idle client, if there is one. Returns the worker to wake, or -1. */
int store_clients_start(struct store_clients *clients, struct prng *prng);

bool store_clients_are_idle(const struct store_clients *clients);

/* The store is gone, and with it every request. */
void store_clients_drop(struct store_clients *clients);

/* The oldest moment of the model that a request under way may still see. */
uint64_t store_clients_since(const struct store_clients *clients, uint64_t now);

/* The bytes of key `index` of `count`; keys in the order of their index. */
struct bytes store_key(unsigned index, unsigned count, uint8_t *room);
int store_key_index(struct bytes key); /* -1: of no such key */
/* The number of the write that an entry comes from, or one of the above, or 0: absent. */
uint64_t store_entry_number(const struct kv_entry *entry);

/* The spaces that the keys lie in, and the first key of each. */
enum { STORE_SPACES = 3 };
uint8_t store_space(unsigned space);
unsigned store_space_first(unsigned space, unsigned count); /* space STORE_SPACES: count */
unsigned store_space_of(unsigned index, unsigned count);    /* of a key */

#endif
