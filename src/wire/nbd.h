/* SPDX-License-Identifier: Apache-2.0 */
/*
 * NBD, the network block device protocol, as a server speaks it: fixed newstyle handshake, options,
 * requests, simple and structured replies. Pure: bytes to structs and back.
 *
 * Source: https://github.com/NetworkBlockDevice/nbd/blob/master/doc/proto.md, where the names of
 * the constants come from. All numbers on the wire are big-endian.
 */
#ifndef WIRE_NBD_H
#define WIRE_NBD_H

#include <stdbool.h>

#include "base/bytes.h"

enum {
	NBD_GREETING_SIZE = 18,
	NBD_CLIENT_FLAGS_SIZE = 4,
	NBD_OPTION_SIZE = 16,       /* of an option's header */
	NBD_OPTION_REPLY_SIZE = 20, /* of its reply's */
	NBD_REQUEST_SIZE = 28,
	NBD_SIMPLE_REPLY_SIZE = 16,
	NBD_CHUNK_SIZE = 20,       /* of a structured reply's header */
	NBD_CHUNK_OFFSET_SIZE = 8, /* behind it: of DATA */
	NBD_CHUNK_ERROR_SIZE = 14, /* behind it: ERROR_OFFSET without a text; ERROR: 6 */
	NBD_EXTENT_SIZE = 8,
	NBD_CONTEXT_ID_SIZE = 4,
	NBD_EXPORT_REPLY_SIZE = 10,   /* to EXPORT_NAME; then the zeroes */
	NBD_EXPORT_ZEROES_SIZE = 124, /* unless the client wants none */
	NBD_INFO_EXPORT_SIZE = 12,
	NBD_INFO_BLOCK_SIZE_SIZE = 14,
	NBD_NAME_SIZE_MAX = 4096,   /* bytes of any text, as the protocol has it */
	NBD_PAYLOAD_MAX = 32 << 20, /* bytes of a READ or WRITE: what every client may expect */
	NBD_DATA_AT_ONCE_MIN =
	        64 << 10, /* a READ with DF of so much is not too large for a reply */
	NBD_HEADER_SIZE_MAX = NBD_REQUEST_SIZE,
};

/* Handshake flags and client flags have the same bits. */
enum { NBD_FIXED_NEWSTYLE = 1 << 0, NBD_NO_ZEROES = 1 << 1 };

/* Transmission flags: what an export can do. */
enum {
	NBD_HAS_FLAGS = 1 << 0,
	NBD_READ_ONLY = 1 << 1,
	NBD_SEND_FLUSH = 1 << 2,
	NBD_SEND_FUA = 1 << 3,
	NBD_ROTATIONAL = 1 << 4,
	NBD_SEND_TRIM = 1 << 5,
	NBD_SEND_WRITE_ZEROES = 1 << 6,
	NBD_SEND_DF = 1 << 7,
	NBD_CAN_MULTI_CONN = 1 << 8,
	NBD_SEND_RESIZE = 1 << 9,
	NBD_SEND_CACHE = 1 << 10,
	NBD_SEND_FAST_ZERO = 1 << 11,
};

enum nbd_option_id {
	NBD_OPT_EXPORT_NAME = 1,
	NBD_OPT_ABORT = 2,
	NBD_OPT_LIST = 3,
	NBD_OPT_PEEK_EXPORT = 4,
	NBD_OPT_STARTTLS = 5,
	NBD_OPT_INFO = 6,
	NBD_OPT_GO = 7,
	NBD_OPT_STRUCTURED_REPLY = 8,
	NBD_OPT_LIST_META_CONTEXT = 9,
	NBD_OPT_SET_META_CONTEXT = 10,
	NBD_OPT_EXTENDED_HEADERS = 11,
};

#define NBD_REP_ERROR (1u << 31)
enum nbd_option_reply {
	NBD_REP_ACK = 1,
	NBD_REP_SERVER = 2,
	NBD_REP_INFO = 3,
	NBD_REP_META_CONTEXT = 4,
};
#define NBD_REP_ERR_UNSUP (NBD_REP_ERROR + 1)
#define NBD_REP_ERR_POLICY (NBD_REP_ERROR + 2)
#define NBD_REP_ERR_INVALID (NBD_REP_ERROR + 3)
#define NBD_REP_ERR_PLATFORM (NBD_REP_ERROR + 4)
#define NBD_REP_ERR_TLS_REQD (NBD_REP_ERROR + 5)
#define NBD_REP_ERR_UNKNOWN (NBD_REP_ERROR + 6)
#define NBD_REP_ERR_SHUTDOWN (NBD_REP_ERROR + 7)
#define NBD_REP_ERR_BLOCK_SIZE_REQD (NBD_REP_ERROR + 8)
#define NBD_REP_ERR_TOO_BIG (NBD_REP_ERROR + 9)

enum nbd_info { NBD_INFO_EXPORT, NBD_INFO_NAME, NBD_INFO_DESCRIPTION, NBD_INFO_BLOCK_SIZE };

enum nbd_command_id {
	NBD_CMD_READ,
	NBD_CMD_WRITE,
	NBD_CMD_DISC,
	NBD_CMD_FLUSH,
	NBD_CMD_TRIM,
	NBD_CMD_CACHE,
	NBD_CMD_WRITE_ZEROES,
	NBD_CMD_BLOCK_STATUS,
	NBD_CMD_COUNT
};

enum {
	NBD_CMD_FLAG_FUA = 1 << 0,
	NBD_CMD_FLAG_NO_HOLE = 1 << 1,
	NBD_CMD_FLAG_DF = 1 << 2,
	NBD_CMD_FLAG_REQ_ONE = 1 << 3,
	NBD_CMD_FLAG_FAST_ZERO = 1 << 4,
};

enum nbd_chunk_type {
	NBD_CHUNK_NONE = 0,
	NBD_CHUNK_OFFSET_DATA = 1,
	NBD_CHUNK_OFFSET_HOLE = 2,
	NBD_CHUNK_BLOCK_STATUS = 5,
	NBD_CHUNK_ERROR = (1 << 15) + 1,
	NBD_CHUNK_ERROR_OFFSET = (1 << 15) + 2,
};

/* The errors that a reply may have: Linux' numbers, whatever the server runs on. */
enum nbd_error {
	NBD_OK = 0,
	NBD_EPERM = 1,
	NBD_EIO = 5,
	NBD_ENOMEM = 12,
	NBD_EINVAL = 22,
	NBD_ENOSPC = 28,
	NBD_EOVERFLOW = 75,
	NBD_ENOTSUP = 95,
	NBD_ESHUTDOWN = 108,
};

/* Of base:allocation. */
enum { NBD_STATE_HOLE = 1 << 0, NBD_STATE_ZERO = 1 << 1 };

/*
 * Headers come in pieces as the network likes. Collects `size` bytes (at most NBD_HEADER_SIZE_MAX)
 * from the front of *input: NULL until they are all there, then the bytes, in the input or in the
 * gatherer, valid until either changes. Memory: the caller's, zeroed at the start.
 */
struct nbd_gatherer {
	uint8_t used;
	uint8_t data[NBD_HEADER_SIZE_MAX];
};
const uint8_t *nbd_gather(struct nbd_gatherer *gatherer, unsigned size, struct bytes *input);

struct nbd_option {
	uint32_t id;   /* enum nbd_option_id, or unknown */
	uint32_t size; /* bytes of data that follow; any number */
};

/* What asks for an export: GO, INFO. Points into the option's data. */
struct nbd_go {
	struct bytes name; /* at most NBD_NAME_SIZE_MAX */
	bool wants_name, wants_description, wants_block_size;
};

/* LIST_META_CONTEXT, SET_META_CONTEXT. Points into the option's data. */
struct nbd_meta {
	struct bytes name;
	uint32_t count;       /* of queries */
	struct bytes queries; /* what nbd_meta_next() takes them from */
};

struct nbd_request {
	uint16_t flags; /* any bits */
	uint16_t id;    /* enum nbd_command_id, or unknown */
	uint64_t cookie;
	uint64_t offset; /* any number */
	uint32_t size;   /* any number */
};

/* False: the magic number is wrong, and what follows has no meaning. */
bool nbd_option_decode(const uint8_t *data, struct nbd_option *option);
bool nbd_request_decode(const uint8_t *data, struct nbd_request *request);
uint32_t nbd_client_flags_decode(const uint8_t *data);

/* False: sizes in it do not fit its own. Unknown informations are left out. */
bool nbd_go_decode(struct bytes data, struct nbd_go *go);
bool nbd_meta_decode(struct bytes data, struct nbd_meta *meta);
/* The next of its queries; after nbd_meta_decode(), for meta->count times. */
struct bytes nbd_meta_next(struct nbd_meta *meta);
/* Whether it asks for base:allocation; LIST also may with the namespace alone. */
bool nbd_meta_is_allocation(struct bytes query, bool list);

/* What is written: each returns the bytes that it has put at `out`, which are at most those that
 * its name's _SIZE says, and the sizes of texts. */
size_t nbd_write_greeting(uint8_t *out);
/* The header of a reply whose data of `size` bytes follow. */
size_t nbd_write_option_reply(uint8_t *out, uint32_t option, uint32_t reply, uint32_t size);
/* A whole reply with a text: an error's, or NULL. */
size_t nbd_write_option_text(uint8_t *out, uint32_t option, uint32_t reply, const char *text);
size_t nbd_write_server(uint8_t *out, struct bytes name);

struct nbd_export_facts {
	uint64_t size;  /* bytes */
	uint16_t flags; /* NBD_HAS_FLAGS .. */
	uint32_t block_min, block_preferred, payload_max;
};
/* To EXPORT_NAME; no header. */
size_t nbd_write_export(uint8_t *out, const struct nbd_export_facts *facts, bool zeroes);
/* Whole replies. */
size_t nbd_write_info_export(uint8_t *out, uint32_t option, const struct nbd_export_facts *facts);
size_t nbd_write_info_block_size(uint8_t *out, uint32_t option,
                                 const struct nbd_export_facts *facts);
size_t nbd_write_info_text(uint8_t *out, uint32_t option, enum nbd_info info, struct bytes text);
size_t nbd_write_meta_context(uint8_t *out, uint32_t option, uint32_t id);

size_t nbd_write_simple_reply(uint8_t *out, enum nbd_error error, uint64_t cookie);

struct nbd_chunk {
	enum nbd_chunk_type type;
	bool done; /* the last of its reply */
	uint64_t cookie;
	uint32_t size; /* bytes behind the header */
};
size_t nbd_write_chunk(uint8_t *out, const struct nbd_chunk *chunk);
/* With the offset behind the header; data of chunk->size - 8 bytes follow. */
size_t nbd_write_chunk_data(uint8_t *out, const struct nbd_chunk *chunk, uint64_t offset);
/* Whole: ERROR, or ERROR_OFFSET. chunk->size is not looked at. */
size_t nbd_write_chunk_error(uint8_t *out, const struct nbd_chunk *chunk, enum nbd_error error,
                             uint64_t offset);
size_t nbd_write_context_id(uint8_t *out, uint32_t id); /* what BLOCK_STATUS begins with */
size_t nbd_write_extent(uint8_t *out, uint32_t size, uint32_t state);

/* A client's side, for tests and programs that measure. */
size_t nbd_write_request(uint8_t *out, const struct nbd_request *request);
size_t nbd_write_option(uint8_t *out, uint32_t option, uint32_t size);

uint16_t nbd_get16(const uint8_t *data);
uint32_t nbd_get32(const uint8_t *data);
uint64_t nbd_get64(const uint8_t *data);

#endif
