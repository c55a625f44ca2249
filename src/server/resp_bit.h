/* SPDX-License-Identifier: Apache-2.0 */
/* What the commands on bits keep, for those of long values: resp_bit_long.c. */
#ifndef SERVER_RESP_BIT_H
#define SERVER_RESP_BIT_H

#include "server/bits.h"
#include "server/resp_server.h"

struct bit_state {
	uint64_t offset;
	int64_t bit;
	/* Of a stream: */
	uint64_t from, to; /* the bits that are looked at */
	uint64_t count;    /* of those that are set */
	int64_t found;     /* the first that was wanted, or -1 */
	bool open;         /* no end was given */
	uint8_t byte;
};

struct bitop_state {
	enum bits_op op;
};

struct bitfield_window;
struct bitfield_state {
	struct bitfield field;
	/* Of a stream: */
	struct bitfield_window *windows; /* what each step sees */
	uint32_t step;                   /* the next */
	bool changed;
};

/* The range that BITCOUNT or BITPOS gives, else the whole. False: an error is replied. */
bool bitcount_range(struct resp_call *call, struct bits_range *range);
bool bitpos_range(struct resp_call *call, struct bits_range *range);

void getbit_stream(struct resp_call *call);
void setbit_stream(struct resp_call *call);
void bitcount_stream(struct resp_call *call);
void bitpos_stream(struct resp_call *call);
void bitop_stream(struct resp_call *call);
void bitfield_stream(struct resp_call *call);

#endif
