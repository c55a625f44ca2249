/* SPDX-License-Identifier: Apache-2.0 */
/* Lifecycle rules of a bucket: checked, written, and matched against objects. Pure. */
#ifndef WIRE_S3_LIFECYCLE_H
#define WIRE_S3_LIFECYCLE_H

#include "wire/s3_error.h"
#include "wire/xml.h"

enum {
	S3_LIFECYCLE_RULES_MAX = 1000,
	S3_LIFECYCLE_ID_MAX = 255,
	S3_LIFECYCLE_TAGS_MAX = 10,
	S3_LIFECYCLE_TRANSITIONS_MAX = 8,
};

/* Days are 0 when a rule does not say. Memory: texts lie in the document. */
struct s3_lifecycle_rule {
	struct bytes id, prefix;
	bool enabled, has_filter, has_and, has_prefix, has_status, delete_marker, has_delete_marker;
	struct {
		struct bytes key, value;
	} tags[S3_LIFECYCLE_TAGS_MAX];
	uint32_t tag_count;
	uint64_t size_above, size_below;     /* 0, UINT64_MAX: any */
	uint64_t expire_days, expire_date_s; /* the current version */
	uint64_t noncurrent_days, noncurrent_keep;
	uint64_t abort_days; /* uploads */
	struct {
		bool noncurrent;
		uint64_t days, date_s, keep;
		struct bytes storage_class;
	} transitions[S3_LIFECYCLE_TRANSITIONS_MAX];
	uint32_t transition_count;
	bool has_expiration, has_noncurrent, has_abort, has_days;
};

struct s3_lifecycle {
	struct xml xml;
	uint32_t count;      /* rules so far */
	enum s3_error error; /* of a document that was not all read */
	bool ended;
};

/* Decodes in place. */
void s3_lifecycle_init(struct s3_lifecycle *lifecycle, uint8_t *data, size_t size);
/* The next rule, checked. False: no more, or lifecycle->error. */
bool s3_lifecycle_next(struct s3_lifecycle *lifecycle, struct s3_lifecycle_rule *rule);

/* The whole configuration, in the order and form of the API; rules without an ID get one. */
enum s3_error s3_lifecycle_normalize(uint8_t *data, size_t size, struct text *out);

/* What a rule is asked about. */
struct s3_lifecycle_object {
	struct bytes name, tags; /* tags: as in wire/s3_tags.h */
	uint64_t size;
};

bool s3_lifecycle_applies(const struct s3_lifecycle_rule *rule,
                          const struct s3_lifecycle_object *object);

/*
 * When something of `age_from_ms` is due, in milliseconds since 1970: `days` later, at the next
 * midnight. `day_ms`: 86,400,000, or less in tests.
 */
uint64_t s3_lifecycle_due_ms(uint64_t age_from_ms, uint64_t days, uint64_t day_ms);

#endif
