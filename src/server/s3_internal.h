/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of the S3 face share: the call, its steps, and how it answers. */
#ifndef SERVER_S3_INTERNAL_H
#define SERVER_S3_INTERNAL_H

#include <sys/queue.h>

#include "base/cipher.h"
#include "base/prng.h"
#include "core/timer.h"
#include "server/s3_server.h"
#include "wire/s3_acl.h"
#include "wire/s3_lifecycle.h"
#include "wire/s3_payload.h"
#include "wire/s3_policy.h"

enum {
	S3_CALL_BUFS_MAX = 8,    /* memory of a call: bump-allocated from these */
	S3_SMALL_MEMORY = 1536,  /* of a call, before it takes a buffer */
	S3_BODY_MAX = 1 << 20,   /* bytes of a collected body (HTTP_COLLECT_MAX) */
	S3_LIST_MAX = 1000,      /* entries of a page */
	S3_OUTPUT_MARGIN = 8192, /* bytes of a page kept for its last entry and its end */
	S3_PART_SIZE_MIN = 5 << 20,
	S3_METADATA_MAX = 2048,    /* bytes of user metadata */
	S3_PIECE_SIZE = 256 << 10, /* bytes of a body on the way, read or written at a time */
	S3_KEY_SALT = 16,
	S3_KEY_CHECK = 16,
	S3_MASTER_ID = 8,
	S3_SSE_KEPT_MAX = 16 + 16 + 8 + 12 + 32 + 16,     /* see s3_sse.c */
	S3_PLAIN_PIECE = S3_PIECE_SIZE - CIPHER_TAG_SIZE, /* of what is encrypted, in a piece */
};

/* Documents of a bucket, by number; what is stored depends on these. */
enum s3_document {
	S3_DOCUMENT_ACL = 0,
	S3_DOCUMENT_POLICY = 1,
	S3_DOCUMENT_CORS = 2,
	S3_DOCUMENT_LIFECYCLE = 3,
	S3_DOCUMENT_TAGGING = 4,
	S3_DOCUMENT_ENCRYPTION = 5,
	S3_DOCUMENT_PUBLIC_BLOCK = 6,
	S3_DOCUMENT_OWNERSHIP = 7,
	S3_DOCUMENT_LOCK = 8,
	S3_DOCUMENT_NOTIFICATION = 9,
	S3_DOCUMENT_PAYMENT = 10,
	S3_DOCUMENT_LOCATION = 11, /* where its maker wanted it: text */
};

/* Attributes of an object, by number; what is stored depends on these. */
enum s3_attribute {
	S3_ATTRIBUTE_CONTENT_TYPE = 1,
	S3_ATTRIBUTE_CONTENT_ENCODING = 2,
	S3_ATTRIBUTE_CACHE_CONTROL = 3,
	S3_ATTRIBUTE_CONTENT_DISPOSITION = 4,
	S3_ATTRIBUTE_CONTENT_LANGUAGE = 5,
	S3_ATTRIBUTE_EXPIRES = 6,
	S3_ATTRIBUTE_METADATA = 7, /* pairs: size (2, little-endian) and name, size and value */
	S3_ATTRIBUTE_TAGS = 8,     /* wire/s3_tags.h */
	S3_ATTRIBUTE_ACL = 9,      /* wire/s3_acl.h */
	S3_ATTRIBUTE_SSE = 10,     /* struct s3_sse */
	S3_ATTRIBUTE_REDIRECT = 11,
	S3_ATTRIBUTE_OWNER = 12,
	S3_ATTRIBUTE_LOCK = 13, /* of an upload: what the object's lock will be */
};

/*
 * obj_meta.brief of an object, an upload and a part: what lists say of it too.
 *
 *   0       1, the version of this form
 *   1       enum s3_checksum_kind
 *   2       1: the checksum is of the whole object; 0: composite, of those of its parts
 *   3       storage class: 0 STANDARD, by index of s3_storage_classes
 *   4       enum s3_sse_kind
 *   5       size of the owner's id (0 in a part: then the salt of its key lies there)
 *   6..     checksum, s3_checksum_size() bytes
 *   then    of what is encrypted: its size before that, 8 bytes, little-endian
 *   then    the owner's id, or S3_KEY_SALT bytes
 */
enum s3_sse_kind { S3_SSE_NONE, S3_SSE_CUSTOMER = 2, S3_SSE_S3 = 3 };

struct s3_brief {
	enum s3_checksum_kind checksum;
	bool full, has_checksum;
	uint8_t storage_class;
	enum s3_sse_kind sse;
	uint64_t plain_size; /* unless sse is NONE */
	uint8_t value[S3_CHECKSUM_SIZE_MAX];
	struct bytes owner;
	uint8_t salt[S3_KEY_SALT];
};

size_t s3_brief_format(const struct s3_brief *brief, uint8_t out[OBJ_BRIEF_MAX]);
void s3_brief_parse(struct s3_brief *brief, struct bytes kept);
const char *s3_storage_class(uint8_t index);
bool s3_storage_class_of(struct bytes name, uint8_t *ret_index);
/* Bytes of an object or a part as its reader sees them; `kept`: as the store has them. */
uint64_t s3_size_of(const struct s3_brief *brief, uint64_t kept);

/* What answers say to browsers. */
struct s3_cors_said {
	bool there, has_max_age;
	struct bytes origin, methods, headers, exposed;
	uint64_t max_age_s;
};

struct s3_call;
typedef void s3_next_fn(struct s3_call *call);

/* What a route needs beside a valid signature. */
enum s3_target { S3_ON_SERVICE, S3_ON_BUCKET, S3_ON_OBJECT };
enum {
	S3_ROUTE_OWNER = 1 << 0,      /* without a policy only the bucket's owner may */
	S3_ROUTE_OBJECT_ACL = 1 << 1, /* `permission` is the object's, else the bucket's */
	S3_ROUTE_COLLECT = 1 << 2,    /* start runs when the body is there: call->body */
	S3_ROUTE_NO_BUCKET = 1 << 3,  /* start runs before the bucket is looked at */
	S3_ROUTE_SELF = 1 << 4,       /* start asks for authorization by itself */
	S3_ROUTE_NEEDS_MD5 = 1 << 5,  /* the body must come with a digest */
	S3_ROUTE_STUB = 1 << 6,       /* says that nothing is there: it can only be asked */
};

struct s3_route {
	enum http_method method;
	enum s3_target target;
	const char *parameter; /* of the query, NULL: none of the known ones */
	const char *action;
	uint8_t permission; /* S3_READ .. */
	uint32_t flags;
	s3_next_fn *start; /* NULL: not implemented */
	uint16_t document; /* for routes that share a start */
};

extern const struct s3_route s3_routes[]; /* s3_route_table.c */
extern const uint32_t s3_route_count;
/* NULL: MethodNotAllowed; a route without start: NotImplemented. */
const struct s3_route *s3_route_find(const struct s3_call *call);

/* Server-side encryption of an object or a part. */
struct s3_sse {
	enum s3_sse_kind kind;
	struct bytes md5_text; /* CUSTOMER: of the key, as it was sent */
	uint8_t secret[CIPHER_KEY_SIZE];
	uint8_t salt[S3_KEY_SALT];
	uint8_t key[CIPHER_KEY_SIZE]; /* from the secret and the salt */
	uint8_t check[S3_KEY_CHECK];
};

/*
 * An upload on its way in: digests, buffers. From a pool of options.uploads_max. It outlives its
 * call while the store drops what was written.
 */
struct s3_upload {
	SLIST_ENTRY(s3_upload) link;
	struct s3_server *server;
	struct s3_call *call; /* NULL: it has gone */
	struct req req;
	struct s3_digests digests;
	struct s3_payload payload;
	struct cipher cipher;
	const uint8_t *key;  /* encrypts with it: the call's; NULL: does not */
	uint64_t sealed;     /* pieces that were encrypted */
	struct buf *filling; /* takes what comes */
	struct buf *writing; /* the store reads it */
	s3_next_fn *commit_next;
	s3_next_fn *resume; /* a write has come back; NULL: the body goes on */
	s3_next_fn *ready;  /* what makes an object of it: the body is all there, and right */
	uint64_t handle;    /* 0: not created yet */
	uint64_t written;   /* bytes handed to the store */
	uint64_t size_min, size_max;           /* of the object: EntityTooSmall, EntityTooLarge */
	uint32_t piece_size;                   /* of buffers */
	enum s3_checksum_kind checksum_wanted; /* made even when the request has none */
	bool body_ended, flying, starved;
	enum s3_error error;  /* to be told when nothing flies any more */
	struct s3_form *form; /* what the body is; NULL: the object */
};

/* A download: the version that it reads stays pinned. From a pool, too. */
struct s3_reader {
	SLIST_ENTRY(s3_reader) link;
	struct s3_server *server;
	struct s3_call *call; /* NULL: it has gone */
	struct req req;
	struct cipher cipher;
	struct buf *buf;
	s3_next_fn *next;
	uint64_t handle;
	uint64_t at, end; /* bytes of the object that are still to be read */
	bool decrypts, by_parts, flying;
	/* Of what is decrypted: the part with `at`, or all of an object in one piece. */
	bool part_known;
	uint32_t part_number;
	uint64_t part_start, part_end;     /* as its reader sees it */
	uint64_t sealed_start, sealed_end; /* as the store has it */
	struct s3_sse part;                /* its key */
	/* Where the parts are. */
	struct bytes bucket, key;
	struct obj_meta meta;
	struct obj_list list;
};

/* An object as a visit has told of it, in the call's memory. */
struct s3_found {
	bool there;
	struct obj_meta meta; /* etag, brief, attributes are the call's; size: as readers see it */
	uint64_t sealed_size; /* as the store has it */
	struct s3_brief brief;
};

struct s3_user {
	char access[S3_ACCESS_KEY_MAX];
	char secret[S3_SECRET_KEY_MAX];
	char id[S3_USER_MAX];
	char name[128];
	char email[128];
	uint8_t access_size, secret_size, id_size, name_size, email_size;
};

/*
 * A call. Memory: the exchange's, zeroed when it begins. A function that answers is the last that
 * touches it, but for the handler's own functions, which see call->answered.
 */
struct s3_call {
	struct s3_server *server;
	struct http_exchange *exchange;
	const struct http_request *request;
	const struct http_field *fields; /* what headers say; of a form: what its fields say */
	uint32_t field_count;
	const struct s3_route *route;
	s3_next_fn *next; /* when the request under way has ended */
	s3_next_fn *authenticated;
	s3_next_fn *granted; /* when authorization has been given */
	s3_next_fn *after_cors;
	s3_next_fn *collected;      /* when the body is there */
	STAILQ_ENTRY(s3_call) link; /* waits for the keys */
	struct req req;

	struct bytes bucket, key; /* empty: none */
	uint64_t version;         /* of ?versionId=; with OBJ_NULL_VERSION in flags: null */
	uint32_t version_flags;
	bool has_version;
	const char *action; /* what is asked of policies */
	uint8_t permission;
	uint64_t request_id;

	struct sigv4 sig;
	uint8_t signing_key[SHA256_SIZE];
	bool anonymous;
	struct bytes user, user_name; /* in memory */

	struct obj_bucket info;        /* label: in memory */
	bool owner;                    /* of the bucket */
	bool acl_ignored, only_public; /* public access block */
	bool enforced;                 /* ownership: the bucket's owner has all */
	bool preferred;                /* or what is given to him is his */
	bool object_acl, object_known, owner_always, decided, users_asked;
	bool undecided; /* s3_authorize() only looks: who starts asks s3_may() */
	bool by_object; /* the object's list decides, whatever the route says: a copy's source */
	bool bypass, again;
	uint32_t documents_wanted;
	uint16_t reading_document;
	/* Documents, in memory: empty ones are not there, or were not wanted. */
	struct bytes policy, bucket_acl, public_block, ownership, lock_rule, lifecycle;
	struct bytes document; /* as a visit has told, in memory */
	uint8_t tag_memory[4 * (128 + 256)];
	char time_memory[24];
	struct bytes request_tags;

	struct s3_cors_said cors;
	struct s3_found found;
	struct obj_put put;
	struct obj_attributes attributes;
	struct obj_list list;
	struct s3_brief brief;
	uint8_t brief_memory[OBJ_BRIEF_MAX];
	char etag[OBJ_ETAG_MAX];
	struct s3_sse sse, source_sse;

	struct bytes body; /* collected */
	struct s3_upload *upload;
	uint64_t part_upload; /* what is put is a part of it; 0: an object */
	uint16_t part_number;
	struct s3_reader *reader;
	struct text out; /* the answer's XML, in a buffer */
	struct buf *out_buf;

	const char *condition_name; /* what PreconditionFailed speaks of; NULL: nothing */
	struct bytes range;         /* that InvalidRange speaks of */
	bool any_etag;              /* If-Match: * */
	bool marker_found;          /* what was asked for is a delete marker: errors say so */
	void *state;                /* of the route, in memory */
	uint32_t steps;
	bool answered, aborted, running, waiting;

	struct buf *bufs[S3_CALL_BUFS_MAX];
	uint32_t buf_count;
	size_t small_used;
	_Alignas(16) uint8_t small[S3_SMALL_MEMORY];
};
STAILQ_HEAD(s3_call_list, s3_call);

struct s3_server {
	struct s3_server_options options;
	struct worker *worker;
	struct obj *obj;
	struct kv *kv;
	struct bufs *bufs;
	struct digest sha256, md5, sha1;
	struct cipher cipher; /* of keys, for one function at a time */
	struct s3_master {
		uint8_t id[S3_MASTER_ID], key[CIPHER_KEY_SIZE];
	} masters[S3_MASTERS_MAX]; /* the first is for what is new */
	uint32_t master_count;
	struct prng prng;
	uint64_t draws; /* of secrets: never the same twice */
	struct s3_upload *uploads;
	SLIST_HEAD(, s3_upload) uploads_free;
	struct s3_reader *readers;
	SLIST_HEAD(, s3_reader) readers_free;
	uint32_t borrowed;         /* uploads and readers that are not in their pools */
	struct json_value *values; /* S3_POLICY_VALUES_MAX, for one function at a time */
	uint8_t *scratch;          /* S3_SCRATCH_SIZE, for one function at a time */

	struct s3_user *users;
	uint32_t user_count;
	bool users_loaded, users_loading, users_again;
	uint64_t users_loaded_ns;
	struct s3_user *users_next; /* what a load fills */
	uint32_t users_next_count;
	uint8_t users_cursor[KV_KEY_MAX];
	size_t users_cursor_size;
	struct req users_req;
	struct s3_call_list users_waiting;
	struct timer users_timer;
	uint8_t first_record[S3_KEY_RECORD_MAX], first_key[1 + 20];

	struct s3_sweep *sweep; /* lifecycle; NULL: another worker's */
	uint64_t request_id_next;
	bool draining;
};
enum { S3_SCRATCH_SIZE = 128 << 10 };

/* s3_server.c: steps, memory, answers. */

/* Submits on call->req; next() runs when it has ended, with call->req.status and .result. */
void s3_submit(struct s3_call *call, const struct obj_cmd *cmd, s3_next_fn *next);
/* A command on the call's bucket and key, its version when one was asked for. */
struct obj_cmd s3_command(const struct s3_call *call, enum obj_op op);
/* Memory until the end of the call. NULL: none is left, and the call has answered. */
void *s3_alloc(struct s3_call *call, size_t size);
/* Gives back what was taken since. */
struct s3_mark {
	size_t small_used, buf_used;
	uint32_t buf_count;
};
struct s3_mark s3_alloc_mark(const struct s3_call *call);
void s3_alloc_back(struct s3_call *call, const struct s3_mark *mark);
bool s3_keep(struct s3_call *call, struct bytes from, struct bytes *to);
/* Room for an XML answer of about that size in call->out. False: it has answered SlowDown. */
bool s3_begin_xml(struct s3_call *call, size_t size);

void s3_reply_error(struct s3_call *call, enum s3_error error);
/* The same with a text of its own. */
void s3_reply_error_text(struct s3_call *call, enum s3_error error, const char *text);
void s3_reply_status(struct s3_call *call); /* of call->req, which is not OK */
enum s3_error s3_error_of(enum status status, uint64_t result);
void s3_reply(struct s3_call *call, unsigned status); /* the common fields; more may follow */
void s3_end(struct s3_call *call);                    /* no body */
void s3_end_xml(struct s3_call *call);                /* call->out */
void s3_field(struct s3_call *call, const char *name, struct bytes value);
void s3_field_etag(struct s3_call *call, struct bytes etag);
void s3_field_version(struct s3_call *call, const char *name, const struct obj_meta *meta);

/* Of the request. */
bool s3_header(const struct s3_call *call, const char *name, struct bytes *ret_value);
bool s3_parameter(const struct s3_call *call, const char *name, struct bytes *ret_value);
uint64_t s3_now_ms(const struct s3_call *call);

/* Ids as text: 16 hexadecimal digits, "null". */
enum { S3_ID_SIZE = 16 };
void s3_id_format(uint64_t id, char out[S3_ID_SIZE]);
bool s3_id_parse(struct bytes text, uint64_t *ret_id);
struct bytes s3_version_text(const struct obj_meta *meta, char memory[S3_ID_SIZE]);

/* Visits that keep what they are told in the call: visitor is the call. */
void s3_visit_found(void *visitor, const struct obj_entry *entry);
void s3_visit_document(void *visitor, const struct obj_entry *entry);

/* s3_users.c. */
void s3_users_load(struct s3_server *server);
/* The same, but at most once a second: for calls in users_waiting. */
void s3_users_look_again(struct s3_server *server);
const struct s3_user *s3_user_of_access(const struct s3_server *server, struct bytes access);
const struct s3_user *s3_user_of_id(const struct s3_server *server, struct bytes id);
const struct s3_user *s3_user_of_email(const struct s3_server *server, struct bytes email);
struct s3_names s3_names(struct s3_server *server);

/* s3_auth.c: who asks, and whether he may. */
void s3_authenticate(struct s3_call *call, s3_next_fn *next);
/* Runs next when the call's action is allowed; else it has answered. */
void s3_authorize(struct s3_call *call, s3_next_fn *next);
/* Another action on the bucket that is known: an object of a list, a lock that is passed. */
void s3_reauthorize(struct s3_call *call, const char *action, uint8_t permission, s3_next_fn *next);
bool s3_may(struct s3_call *call, const char *action, uint8_t permission); /* at once */
const char *s3_version_action(const char *action); /* the same of a version */
bool s3_sign_request(const struct s3_call *call, struct sigv4_request *request);

/* s3_cors_face.c */
void s3_cors_preflight(struct s3_call *call);
void s3_cors_fields(struct s3_call *call); /* of an answer */
void s3_cors_apply(struct s3_call *call, s3_next_fn *next);

/* s3_meta.c: what headers say of an object, and back. */
/* Fills call->attributes from the request; false: it has answered. */
bool s3_meta_read(struct s3_call *call, bool tags);
bool s3_attributes_init(struct s3_call *call);
bool s3_attribute_set(struct s3_call *call, unsigned number, struct bytes value);
bool s3_acl_read(struct s3_call *call, struct s3_acl *acl, bool *ret_said);
bool s3_block_says(const struct s3_call *call, const char *what); /* public access block */
bool s3_acl_resolve(struct s3_call *call, struct s3_acl *acl);
bool s3_lock_read(struct s3_call *call); /* x-amz-object-lock-*: into call->put */
void s3_meta_write(struct s3_call *call, const struct s3_found *found); /* the answer's fields */
void s3_checksum_fields(struct s3_call *call, const struct s3_brief *brief);

/* s3_put.c */
void s3_put_finish_meta(struct s3_call *call, const struct s3_payload *payload);
void s3_put_reply_fields(struct s3_call *call);
void s3_put_encrypt(struct s3_call *call);
bool s3_lock_default(struct s3_call *call);
bool s3_part_target(struct s3_call *call);   /* ?partNumber and ?uploadId */
bool s3_upload_target(struct s3_call *call); /* ?uploadId */
enum s3_error s3_part_encryption(struct s3_call *call, struct s3_sse *sse);
void s3_expiration_field(struct s3_call *call, const struct obj_meta *meta);

/* s3_sse.c */
/* A customer's key, from headers; there is none: kind is NONE. */
enum s3_error s3_sse_read(struct s3_call *call, const char *prefix, struct s3_sse *sse);
/* What a new object wants: by its headers, or by the bucket. */
enum s3_error s3_sse_wanted(struct s3_call *call, struct s3_sse *sse);
/* The secret of a new object and what is kept of it, that many bytes; kind is not NONE. */
size_t s3_sse_make(struct s3_server *server, struct s3_sse *sse, uint8_t kept[S3_SSE_KEPT_MAX]);
void s3_sse_salt(struct s3_server *server, struct s3_sse *sse); /* a new one, and its key */
void s3_sse_derive(struct s3_server *server, struct s3_sse *sse);
void s3_sse_fields(struct s3_call *call, const struct s3_sse *sse);
/* The key of what was found, from the customer's or the server's. */
enum s3_error s3_sse_check_found(struct s3_call *call, const struct s3_found *found,
                                 struct s3_sse *sse);
enum s3_error s3_sse_read_found(struct s3_call *call, struct s3_sse *sse); /* both */
uint64_t s3_sealed_size(uint64_t size); /* bytes that the store has of so many */
struct s3_piece {
	uint64_t index;
	bool last;
};
/* In place: S3_PLAIN_PIECE bytes each but the last. */
void s3_piece_seal(struct cipher *cipher, const uint8_t *key, struct s3_piece piece,
                   struct buf *buf);
/* False: damaged, or of another place. */
bool s3_piece_unseal(struct cipher *cipher, const uint8_t *key, struct s3_piece piece,
                     struct buf *buf);

/* s3_conditions.c */
enum s3_error s3_check_get_conditions(struct s3_call *call, const struct obj_meta *meta,
                                      bool copy_source);
bool s3_put_conditions(struct s3_call *call); /* If-Match, If-None-Match: into call->put */

void s3_reply_write_status(struct s3_call *call); /* of a conditional write that has failed */

/* s3_upload.c: a body into the store. */
bool s3_upload_take(struct s3_call *call);    /* from the pool; false: it has answered */
void s3_upload_release(struct s3_call *call); /* nothing flies; what was written is dropped */
bool s3_upload_flies(const struct s3_call *call);
/*
 * Reads the request's digests and sizes, and takes the body; then ready() runs with all of it in
 * the store, or in upload->filling when it was small: s3_upload_commit() makes the object.
 */
void s3_upload_receive(struct s3_call *call, s3_next_fn *ready);
size_t s3_upload_body(struct s3_call *call, struct bytes piece);
void s3_upload_body_ended(struct s3_call *call);
/* Instead of a request's body, s3_upload_feed() tells what the object is. */
void s3_upload_plain(struct s3_call *call, enum s3_checksum_kind kind, uint64_t size);
/* Bytes taken: fewer when no room is left, until upload->resume(). It may have answered. */
size_t s3_upload_feed(struct s3_call *call, struct bytes data);
size_t s3_upload_room(struct s3_call *call); /* how many it would take now, at least */
/* PUT or COMMIT with call->put, to call->key or its part; then next(), with the outcome in
 * call->req, and in call->found. */
void s3_upload_commit(struct s3_call *call, s3_next_fn *next);

/* s3_list.c, s3_list_uploads.c */
bool s3_limit_read(struct s3_call *call, const char *name, uint64_t *ret_limit);
void s3_write_checksum(struct text *out, const struct s3_brief *brief);

/* s3_reader.c: a version of an object, opened. */
bool s3_reader_take(struct s3_call *call); /* false: it has answered */
/* OPEN of call's object: then next(), with the outcome in call->req and call->found. */
void s3_reader_open(struct s3_call *call, const struct obj_cmd *cmd, s3_next_fn *next);
/*
 * The next piece of [at, end), up to `size` bytes, decrypted, into reader->buf; then next(), with
 * the outcome in call->req. The buffer is whose who takes it out of the reader.
 */
void s3_reader_read(struct s3_call *call, size_t size, s3_next_fn *next);
/* What s3_sse_check_found() has found the key of: before the first read. Damaged: false. */
bool s3_reader_decrypt(struct s3_call *call, const struct s3_sse *sse);
void s3_reader_release(struct s3_call *call); /* nothing flies */

/* s3_get.c */
void s3_get_pull(struct s3_call *call);
/* Ends a call that nobody waits for any more, as soon as nothing of it is under way. */
void s3_give_up(struct s3_call *call);

#endif
