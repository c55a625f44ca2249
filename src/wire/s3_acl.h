/* SPDX-License-Identifier: Apache-2.0 */
/* Access control lists of S3: canned, as XML, as headers, and as they are kept. Pure. */
#ifndef WIRE_S3_ACL_H
#define WIRE_S3_ACL_H

#include "wire/s3_error.h"
#include "wire/xml.h"

enum {
	S3_GRANTS_MAX = 100,
	S3_USER_MAX = 56, /* bytes of a user's id */
	S3_ACL_SIZE_MAX = S3_GRANTS_MAX * (S3_USER_MAX + 3),
};

enum {
	S3_READ = 1 << 0,
	S3_WRITE = 1 << 1,
	S3_READ_ACP = 1 << 2,
	S3_WRITE_ACP = 1 << 3,
	S3_FULL_CONTROL = 15,
};

enum s3_grantee {
	S3_GRANTEE_USER,          /* id */
	S3_GRANTEE_EMAIL,         /* id: an address; to be replaced by the user who has it */
	S3_GRANTEE_ALL,           /* everybody, strangers too */
	S3_GRANTEE_AUTHENTICATED, /* everybody with a key */
	S3_GRANTEE_LOGS,
};

struct s3_grant {
	uint8_t permission;
	uint8_t grantee; /* enum s3_grantee */
	struct bytes id;
};

/* Memory: the caller's; ids lie in what was parsed. */
struct s3_acl {
	struct s3_grant grants[S3_GRANTS_MAX];
	uint32_t count;
	struct bytes owner; /* as the XML says; empty: it does not */
};

/* "public-read" and such; `bucket_owner` may be the owner. False: there is none of that name. */
bool s3_acl_canned(struct s3_acl *acl, struct bytes name, struct bytes owner,
                   struct bytes bucket_owner);
/* <AccessControlPolicy>, decoded in place. */
enum s3_error s3_acl_parse_xml(struct s3_acl *acl, uint8_t *data, size_t size);
/* What follows x-amz-grant-read: and its like: id="..", uri="..", emailAddress="..". */
enum s3_error s3_acl_add_header(struct s3_acl *acl, uint8_t permission, struct bytes value);

/* As it is kept: at most S3_ACL_SIZE_MAX bytes. Only the owner with full control: nothing. */
void s3_acl_encode(const struct s3_acl *acl, struct bytes owner, struct text *out);
void s3_acl_decode(struct s3_acl *acl, struct bytes kept, struct bytes owner); /* damaged: empty */

/* Whether `user` (empty: a stranger) is granted all of `permission`. */
bool s3_acl_allows(const struct s3_acl *acl, struct bytes user, uint8_t permission);
bool s3_acl_is_public(const struct s3_acl *acl);

/* The user's name for people, or the id again. */
typedef struct bytes s3_name_fn(void *owner, struct bytes id);
struct s3_names {
	s3_name_fn *name_of;
	void *owner;
};
void s3_acl_write_xml(const struct s3_acl *acl, struct bytes owner, const struct s3_names *names,
                      struct text *out);
void s3_owner_write_xml(struct bytes id, const struct s3_names *names, const char *element,
                        struct text *out);

#endif
