/* SPDX-License-Identifier: Apache-2.0 */
/*
 * NVMe/TCP: the PDUs of the NVMe TCP Transport Specification 1.0, both directions. A parser that
 * bytes are pushed through, and the writer of headers. Pure.
 */
#ifndef WIRE_NVME_TCP_H
#define WIRE_NVME_TCP_H

#include "base/bytes.h"
#include "wire/nvme.h"

enum nvme_tcp_type {
	NVME_TCP_IC_REQ = 0x00,
	NVME_TCP_IC_RESP = 0x01,
	NVME_TCP_H2C_TERM = 0x02,
	NVME_TCP_C2H_TERM = 0x03,
	NVME_TCP_COMMAND = 0x04,
	NVME_TCP_RESPONSE = 0x05,
	NVME_TCP_H2C_DATA = 0x06,
	NVME_TCP_C2H_DATA = 0x07,
	NVME_TCP_R2T = 0x09,
};

enum {
	NVME_TCP_HEADER_DIGEST = 1 << 0, /* common.flags */
	NVME_TCP_DATA_DIGEST = 1 << 1,
	NVME_TCP_LAST = 1 << 2,    /* H2CData, C2HData: of the R2T, of the command */
	NVME_TCP_SUCCESS = 1 << 3, /* C2HData: no response follows */
};

enum {
	NVME_TCP_PORT = 4420, /* of subsystems; 8009: of discovery */
	NVME_TCP_DIGEST_SIZE = 4,
	NVME_TCP_HEADER_MAX = 128,   /* bytes of a header, without its digest */
	NVME_TCP_PDO_MAX = 252,      /* bytes before data: a multiple of 4 in 8 bits */
	NVME_TCP_PAD_UNITS_MAX = 32, /* of HPDA + 1 and CPDA + 1, in 4 bytes */
	NVME_TCP_SEAL_MAX = NVME_TCP_PAD_UNITS_MAX * 4 * 2, /* what nvme_tcp_seal() may need */
	NVME_TCP_ADMIN_DATA_MAX = 8192, /* in the capsule of an admin or fabrics command */
	NVME_TCP_H2C_DATA_MIN = 4096,   /* the least MAXH2CDATA */
	NVME_TCP_TERM_DATA_MAX = 128,
};

struct nvme_tcp_common {
	uint8_t type, flags;
	uint8_t header_size; /* HLEN, without digest */
	uint8_t data_offset; /* PDO */
	uint32_t size;       /* PLEN: all of it */
};

/* ICReq and ICResp. */
struct nvme_tcp_ic {
	struct nvme_tcp_common common;
	uint16_t format; /* PFV: 0 */
	uint8_t align;   /* HPDA or CPDA: data begins at a multiple of 4 (n + 1) */
	uint8_t digests; /* bit 0: of headers, 1: of data */
	uint32_t max;    /* MAXR2T, less one; MAXH2CDATA, bytes */
	uint8_t reserved[112];
};
_Static_assert(sizeof(struct nvme_tcp_ic) == 128, "3.6.2.2");
enum { NVME_TCP_DIGEST_HEADERS = 1 << 0, NVME_TCP_DIGEST_DATA = 1 << 1 };

/* Why a connection is given up: FES. */
enum nvme_tcp_error {
	NVME_TCP_INVALID_FIELD = 1, /* information: the offset of the field */
	NVME_TCP_SEQUENCE = 2,
	NVME_TCP_HEADER_DIGEST_ERROR = 3, /* information: the digest that came */
	NVME_TCP_OUT_OF_RANGE = 4,
	NVME_TCP_LIMIT = 5,       /* of data or R2Ts at a time */
	NVME_TCP_UNSUPPORTED = 6, /* information: the offset of the parameter */
};

struct __attribute__((packed)) nvme_tcp_term {
	struct nvme_tcp_common common;
	uint16_t error;       /* enum nvme_tcp_error */
	uint32_t information; /* FEI */
	uint8_t reserved[10];
};
_Static_assert(sizeof(struct nvme_tcp_term) == 24, "3.6.2.4");

struct nvme_tcp_command {
	struct nvme_tcp_common common;
	struct nvme_sqe sqe;
};
_Static_assert(sizeof(struct nvme_tcp_command) == 72, "3.6.2.6");

struct nvme_tcp_response {
	struct nvme_tcp_common common;
	struct nvme_cqe cqe;
};
_Static_assert(sizeof(struct nvme_tcp_response) == 24, "3.6.2.7");

/* H2CData, C2HData and R2T. */
struct nvme_tcp_data {
	struct nvme_tcp_common common;
	uint16_t cid;
	uint16_t tag;    /* TTAG; C2HData: reserved */
	uint32_t offset; /* DATAO, R2TO: in the command's data */
	uint32_t size;   /* DATAL, R2TL */
	uint32_t reserved;
};
_Static_assert(sizeof(struct nvme_tcp_data) == 24, "3.6.2.8");

union nvme_tcp_pdu {
	struct nvme_tcp_common common;
	struct nvme_tcp_ic ic;
	struct nvme_tcp_term term;
	struct nvme_tcp_command command;
	struct nvme_tcp_response response;
	struct nvme_tcp_data data;
};

/*
 * What both sides of a connection agreed on. Zeroed: nothing yet, so that only the one PDU that
 * initialises it may come.
 */
struct nvme_tcp_link {
	bool host;          /* this side is: it is sent what controllers send */
	bool ready;         /* ICReq and ICResp have been */
	bool header_digest; /* of all but ICReq, ICResp and the two TermReqs */
	bool data_digest;
	uint8_t in_align;     /* CPDA or HPDA of this side, as it was said to the other */
	uint8_t out_align;    /* of the other side */
	uint32_t data_max;    /* bytes of data in a data PDU that comes */
	uint32_t capsule_max; /* bytes of data in a capsule that comes */
};

enum nvme_tcp_event_type {
	NVME_TCP_NEED_MORE, /* all input is taken */
	NVME_TCP_BEGIN,     /* a header, checked: parser->pdu */
	NVME_TCP_PIECE,     /* some of its data: event->data */
	NVME_TCP_END,       /* the PDU is complete; event->damaged: its data's digest is wrong */
	NVME_TCP_ERROR,     /* event->error, ->information; the parser is of no use any more */
};

struct nvme_tcp_event {
	enum nvme_tcp_event_type type;
	bool damaged;
	struct bytes data; /* in the input */
	enum nvme_tcp_error error;
	uint32_t information;
};

/* Memory: the connection's; zeroed it stands before the first PDU. */
struct nvme_tcp_parser {
	_Alignas(8) union nvme_tcp_pdu pdu; /* from BEGIN to END; after ERROR: what came of it */
	uint8_t gap[NVME_TCP_PDO_MAX];      /* header digest and padding: only the first 4 count */
	uint32_t used;                      /* bytes of the PDU that have come */
	uint32_t data_size;                 /* of the PDU, from BEGIN on */
	uint32_t data_left;                 /* of it to come */
	uint32_t crc;                       /* of what has come */
	uint8_t digest[NVME_TCP_DIGEST_SIZE], digest_used;
	uint8_t state;
};

/*
 * Takes from the front of *input what makes one event. Checks all that the specification says of a
 * PDU alone: type and direction, sequence of ICReq and ICResp, HLEN, PDO, PLEN, flags, digests,
 * reserved tags; the offsets and tags that refer to commands are the caller's to check. Between END
 * and the next call link may change.
 */
void nvme_tcp_next(struct nvme_tcp_parser *parser, const struct nvme_tcp_link *link,
                   struct bytes *input, struct nvme_tcp_event *event);

/*
 * Completes the PDU of `type` that begins at `out`, whose fields behind the common header are
 * there: HLEN, PDO, PLEN, flags (added to those that are set), header digest and padding. Returns
 * the bytes before the data, at most NVME_TCP_SEAL_MAX: there must be room for them. Data of
 * data_size bytes and, where link->data_digest, its digest follow.
 */
size_t nvme_tcp_seal(uint8_t *out, const struct nvme_tcp_link *link, enum nvme_tcp_type type,
                     uint32_t data_size);

/* A TermReq of this side, with what came of the PDU to blame. Returns its size: at most 152. */
enum { NVME_TCP_TERM_MAX = 24 + NVME_TCP_TERM_DATA_MAX };
size_t nvme_tcp_write_term(uint8_t out[static NVME_TCP_TERM_MAX], const struct nvme_tcp_link *link,
                           const struct nvme_tcp_parser *parser,
                           const struct nvme_tcp_event *event);

const char *nvme_tcp_error_text(enum nvme_tcp_error error); /* for people */

#endif
