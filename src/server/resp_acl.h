/* SPDX-License-Identifier: Apache-2.0 */
/* Users of the RESP face and what they may do: the rules of Redis 7.0. */
#ifndef SERVER_RESP_ACL_H
#define SERVER_RESP_ACL_H

#include <stdbool.h>

#include "base/digest.h"
#include "server/resp_docs.h"
#include "server/resp_server.h"

enum {
	ACL_NAME_MAX = 128,             /* bytes */
	ACL_PASSWORDS_MAX = 16,         /* of a user */
	ACL_PATTERNS_MAX = 64,          /* of a selector: keys and channels together */
	ACL_TEXT_MAX = 4096,            /* bytes of a selector's patterns */
	ACL_RULES_MAX = 2048,           /* bytes of a selector's rules about commands */
	ACL_SELECTORS_MAX = 64,         /* in parentheses, of all users of a worker */
	ACL_COMMANDS_MAX = 512,         /* commands and subcommands */
	ACL_COMMAND_NAME_MAX = 64,      /* bytes */
	ACL_LOG_MAX = 128,              /* entries */
	ACL_OBJECT_MAX = 128,           /* bytes of a command, key or channel in the log */
	ACL_CLIENT_MAX = 512,           /* bytes of a connection's description in the log */
	ACL_DESCRIPTION_MAX = 30 << 10, /* bytes of any acl_describe(): it fits a kv value */
};

/* Kinds of access to keys; a channel's pattern has ACL_CHANNEL alone. */
enum { ACL_READ = 1 << 0, ACL_WRITE = 1 << 1, ACL_CHANNEL = 1 << 2 };

struct acl_pattern {
	uint16_t start, size; /* in the selector's text */
	uint8_t access;
};

/*
 * A set of rights. A user has one, and more of them in parentheses: what one of them grants in
 * full is granted. Memory: the user's, or of the acl's pool.
 */
struct acl_selector {
	struct acl_selector *next; /* of the user's others; in the pool: free */
	bool all_keys, all_channels, all_commands;
	uint8_t pattern_count;
	uint16_t text_used, rules_used;
	uint64_t allowed[ACL_COMMANDS_MAX / 64];  /* by acl_command_id() */
	uint64_t by_first[ACL_COMMANDS_MAX / 64]; /* "+select|0": the rules name the arguments */
	struct acl_pattern patterns[ACL_PATTERNS_MAX];
	char text[ACL_TEXT_MAX];
	char rules[ACL_RULES_MAX]; /* about commands, in the order given: "-@all +@read -keys" */
};

/* Memory: the acl's; a connection that has one is told before it is deleted. */
struct resp_user {
	uint8_t name_size; /* 0: the slot is free */
	bool enabled, nopass;
	int8_t sanitize; /* what was said of payloads: 1, -1; 0: nothing. Ours are always checked */
	uint8_t password_count;
	char name[ACL_NAME_MAX];
	uint8_t passwords[ACL_PASSWORDS_MAX][SHA256_SIZE];
	struct acl_selector root;
	struct acl_selector *others; /* in the order given */
};

enum acl_reason { ACL_GRANTED, ACL_COMMAND, ACL_KEY, ACL_CHANNEL_NAME, ACL_AUTH };

struct acl_log_entry {
	uint64_t count, first_ms, last_ms; /* wall clock; count 0: free */
	uint8_t reason;                    /* enum acl_reason */
	bool in_multi;
	uint8_t object_size, name_size;
	uint16_t client_size;
	char object[ACL_OBJECT_MAX], name[ACL_NAME_MAX], client[ACL_CLIENT_MAX];
};

/*
 * All users of one worker. Memory: taken when opened. Thread: its worker's. Where several workers
 * serve, each has its own and all apply the same changes in the same order.
 */
struct resp_acl {
	struct resp_user *users;   /* user_max + 1: the last one is for trying changes */
	struct resp_user **sorted; /* by name: user_count of them */
	uint32_t user_count, user_max;
	struct resp_user *default_user;
	/* Twice ACL_SELECTORS_MAX, so that a change can be tried; those not in use. */
	struct acl_selector *selectors, *selectors_free;
	const struct resp_command *commands[ACL_COMMANDS_MAX]; /* by id */
	const struct resp_doc *docs[ACL_COMMANDS_MAX];         /* NULL: none */
	uint16_t ids[ACL_COMMANDS_MAX];                        /* by command index */
	uint32_t command_count;
	struct digest sha256;
	struct acl_log_entry *log; /* newest first */
	uint32_t log_count, log_max;
	uint64_t denied_auth, denied_command, denied_key, denied_channel;
};

/* With one user, default, who may do all without a password. After the commands are known. */
enum status acl_open(struct resp_acl *acl, uint32_t user_max) __attribute__((warn_unused_result));
size_t acl_memory(uint32_t user_max); /* bytes that it takes */
void acl_close(struct resp_acl *acl);

struct resp_user *acl_user_find(const struct resp_acl *acl, struct bytes name); /* NULL: none */

struct acl_rules {
	const struct bytes *words; /* a selector is one word */
	uint32_t count;
	bool fresh;   /* as if the user were new, whatever it may do now */
	uint32_t bad; /* result: the word that is wrong, or `count`: it was none of them */
};

/* Applies all rules to the user, or none; makes one that does not exist. NULL: done; else why not.
 */
const char *acl_user_set(struct resp_acl *acl, struct bytes name, struct acl_rules *rules);

/*
 * As acl_user_set(), but nothing is changed: `out`, of ACL_DESCRIPTION_MAX bytes, is what
 * acl_describe() would say after it, and *ret_size how much.
 */
const char *acl_user_try(struct resp_acl *acl, struct bytes name, struct acl_rules *rules,
                         char *out, size_t *ret_size);

/*
 * Makes whole selectors of words that are parts of one: "(~a", "+get)". `out` has room for as many
 * words, and `text` for all of their bytes with a space after each. Returns how many there are;
 * UINT32_MAX: the parenthesis that *ret_bad opens is not closed.
 */
uint32_t acl_merge_words(const struct bytes *words, uint32_t count, struct bytes *out, char *text,
                         uint32_t *ret_bad);

void acl_selectors_drop(struct resp_acl *acl); /* of all users */

/* The caller has made sure that no connection has it. Not the default user. */
void acl_user_delete(struct resp_acl *acl, struct resp_user *user);

/* requirepass: empty: default needs no password. */
void acl_set_default_password(struct resp_acl *acl, struct bytes password);

/* Takes the same time whether the user exists or not. NULL: wrong, or the user is off. */
struct resp_user *acl_authenticate(struct resp_acl *acl, struct bytes name, struct bytes password);

/* The rules as ACL LIST shows them, without "user " and name. At most ACL_DESCRIPTION_MAX bytes. */
size_t acl_describe(const struct resp_user *user, char *out);
size_t acl_describe_size(const struct resp_user *user); /* at least what acl_describe() needs */
/* The patterns of keys (access READ | WRITE) or channels, separated by spaces; ACL_TEXT_MAX * 2. */
size_t acl_describe_patterns(const struct acl_selector *selector, bool channels, char *out);

/* The number of a row: of the command at `index`, or of a subcommand of it. */
uint32_t acl_command_id(const struct resp_acl *acl, uint32_t index,
                        const struct resp_command *command);
/* By name, "client" or "client|list"; NULL: none. */
const struct resp_command *acl_command_find(const struct resp_acl *acl, struct bytes name,
                                            uint32_t *ret_id);
/* Whether the user has all rights: then nothing needs to be checked. */
static inline bool acl_may_all(const struct resp_user *user)
{
	const struct acl_selector *root = &user->root;

	return root->all_commands && root->all_keys && root->all_channels;
}

/* With what follows from flags. */
uint32_t acl_categories(const struct resp_command *command);
enum { ACL_CATEGORY_COUNT = 21 };
extern const char *const acl_category_names[ACL_CATEGORY_COUNT]; /* by bit */
uint32_t acl_category_find(struct bytes name);                   /* its bit; 0: none */

/* May the user run it with these words? *ret_word: the one that was denied. */
enum acl_reason acl_check(const struct resp_acl *acl, const struct resp_user *user, uint32_t id,
                          struct resp_words words, uint32_t *ret_word);

/* Whether a channel, or all channels of a pattern, may be used. */
bool acl_may_use_channel(const struct resp_user *user, struct bytes channel, bool is_pattern);

struct acl_denial {
	enum acl_reason reason;
	bool in_multi;
	struct bytes object, user, client;
	uint64_t wall_ms;
};
void acl_log_add(struct resp_acl *acl, const struct acl_denial *denial);
void acl_log_reset(struct resp_acl *acl);

#endif
