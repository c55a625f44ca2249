/* SPDX-License-Identifier: Apache-2.0 */
/* What the files about users share: how they are kept, in the store or in a file. */
#ifndef SERVER_RESP_ACL_INTERNAL_H
#define SERVER_RESP_ACL_INTERNAL_H

#include "server/resp_admin_internal.h"

enum {
	ACL_KEY_MAX = ACL_NAME_MAX + 16, /* bytes of a key that a user is kept under */
	ACL_FILE_MAX = 512 << 10,        /* bytes of a file of users */
	ACL_LINE_WORDS = 256,
};

/* resp_acl_change.c */
void acl_setuser_start(struct resp_call *call);
void acl_deluser_start(struct resp_call *call);
void acl_load_start(struct resp_call *call);
void acl_save_start(struct resp_call *call);

/*
 * resp_acl_file.c: lines "user NAME RULES", as ACL LIST shows them; empty ones, and those that
 * start with #, say nothing. Each line makes its user anew. `error` has RESP_FILE_ERROR bytes.
 */
bool acl_file_check(struct resp_acl *acl, struct bytes text, char *error); /* changes nothing */
/* Makes all its users, and the default user anew if it names none. Others stay as they are. */
bool acl_file_read(struct resp_acl *acl, struct bytes text, char *error);
bool acl_file_has(struct bytes text, struct bytes name);
/* Its users, on top of those that are there. */
bool acl_file_add(struct resp_acl *acl, struct bytes text, char *error);
/* All users, in `out`; returns the size, or 0: they do not fit. */
size_t acl_file_write(const struct resp_acl *acl, char *out, size_t size_max);

/*
 * resp_acl_store.c: users in the store, one record each: key KV_SPACE_SERVER "acl:" NAME, value the
 * rules as ACL LIST shows them.
 */
struct bytes acl_store_key(struct bytes name, uint8_t *key); /* in `key`, of ACL_KEY_MAX bytes */

#endif
