/* SPDX-License-Identifier: Apache-2.0 */
/* XML as S3 uses it: a strict reader of whole small documents, and a writer. Pure. */
#ifndef WIRE_XML_H
#define WIRE_XML_H

#include "wire/text.h"

enum { XML_DEPTH_MAX = 16 };

enum xml_event {
	XML_OPEN,  /* an element starts: xml->name, xml_attribute() */
	XML_CLOSE, /* it ends: xml->name; xml->text when it had no element inside */
	XML_END,   /* the document was whole */
	XML_ERROR, /* it is not well-formed, or uses what is refused here */
};

/*
 * XML 1.0 (fifth edition) without document types, entities of its own and processing instructions:
 * nothing in the input can grow. UTF-8 only. Names are told without their namespace prefix.
 *
 * Memory: the caller's. The document is decoded in place: names and texts lie in it, and what lies
 * behind the reader stays as long as it does.
 */
struct xml {
	uint8_t *data;
	size_t size, at;
	struct bytes name;       /* of the element of the last event */
	struct bytes text;       /* XML_CLOSE: its characters, decoded */
	struct bytes attributes; /* XML_OPEN: as written */
	uint32_t depth;          /* elements open; XML_CLOSE: without the one that ends */
	struct bytes stack[XML_DEPTH_MAX];
	size_t text_start, text_end; /* of the innermost open element */
	bool leaf, closing, rooted;
};

void xml_init(struct xml *xml, uint8_t *data, size_t size);
enum xml_event xml_next(struct xml *xml);
bool xml_name_is(const struct xml *xml, const char *name);
/* The open element `up` levels above the one of the last event; empty: none. 1: its parent. */
struct bytes xml_parent(const struct xml *xml, uint32_t up);
bool xml_parent_is(const struct xml *xml, uint32_t up, const char *name);
/* The value of an attribute of the last XML_OPEN, entities not decoded; prefixes are ignored. */
struct bytes xml_attribute(const struct xml *xml, const char *name);

/* Writers. Names are trusted, texts are escaped; what XML cannot say becomes U+FFFD. */
void xml_start(struct text *text); /* the declaration */
void xml_open(struct text *text, const char *name);
void xml_open_in(struct text *text, const char *name); /* with S3's namespace */
void xml_close(struct text *text, const char *name);
void xml_escape(struct text *text, struct bytes bytes);
void xml_bytes(struct text *text, const char *name, struct bytes value);
void xml_string(struct text *text, const char *name, const char *value);
void xml_u64(struct text *text, const char *name, uint64_t value);
void xml_bool(struct text *text, const char *name, bool value);
void xml_time(struct text *text, const char *name, uint64_t ms);

/* Whether the bytes are well-formed UTF-8 (RFC 3629). */
bool utf8_is_valid(struct bytes bytes);

#endif
