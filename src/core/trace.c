/* SPDX-License-Identifier: Apache-2.0 */
#include "core/trace.h"

#include "base/assert.h"

static const struct {
	const char *name, *a, *b;
} events[] = {
#define X(name, a, b) { #name, a, b },
	TRACE_TABLE(X)
#undef X
};
_Static_assert(sizeof(events) / sizeof(events[0]) == TRACE_EVENTS, "one row per event");

/* Made by hand: printf() may allocate, and this runs in handlers of fatal signals. */
struct line {
	char text[256];
	size_t size;
};

static void put_text(struct line *line, const char *text)
{
	while (*text != '\0' && line->size < sizeof(line->text) - 1)
		line->text[line->size++] = *text++;
}

static void put_number(struct line *line, uint64_t value, unsigned base, unsigned width)
{
	char digits[65];
	unsigned at = sizeof(digits) - 1;

	assert(base >= 2 && base <= 16);
	assert(width < sizeof(digits));
	digits[at] = '\0';
	do {
		digits[--at] = "0123456789abcdef"[value % base];
		value /= base;
	} while (value != 0);
	while (sizeof(digits) - 1 - at < width)
		digits[--at] = '0';
	put_text(line, &digits[at]);
}

static void put_line(struct line *line, trace_write_fn *write)
{
	line->text[line->size++] = '\n';
	write(line->text, line->size);
	line->size = 0;
}

void trace_dump(const struct trace *trace, unsigned limit, trace_write_fn *write)
{
	uint64_t end = __atomic_load_n(&trace->count, __ATOMIC_ACQUIRE);
	uint64_t first = end > TRACE_RECORDS ? end - TRACE_RECORDS : 0;
	struct line line = { .size = 0 };

	if (end - first > limit)
		first = end - limit;
	put_text(&line, "flight recorder of ");
	put_text(&line, trace->name == NULL ? "?" : trace->name);
	put_text(&line, ": ");
	put_number(&line, end - first, 10, 1);
	put_text(&line, " of ");
	put_number(&line, end, 10, 1);
	put_text(&line, " events");
	put_line(&line, write);
	for (uint64_t i = first; i < end; i++) {
		const struct trace_record *r = &trace->records[i % TRACE_RECORDS];

		if (r->event >= TRACE_EVENTS)
			continue; /* overwritten while we looked */
		put_text(&line, "  ");
		put_number(&line, r->time_ns / 1000000000, 10, 1);
		put_text(&line, ".");
		put_number(&line, r->time_ns % 1000000000, 10, 9);
		put_text(&line, " ");
		put_text(&line, events[r->event].name);
		put_text(&line, " ");
		put_text(&line, events[r->event].a);
		put_text(&line, "=");
		put_number(&line, r->a, 10, 1);
		put_text(&line, " ");
		put_text(&line, events[r->event].b);
		put_text(&line, "=");
		put_number(&line, r->b, 10, 1);
		put_line(&line, write);
	}
}

static void put_frame(struct line *line, unsigned index, const struct frame *frame,
                      trace_name_fn *name)
{
	char text[128];

	put_text(line, "  #");
	put_number(line, index, 10, 1);
	put_text(line, " ");
	if (name != NULL && name((uintptr_t)frame->done, text, sizeof(text)) > 0)
		put_text(line, text);
	else
		put_text(line, "?");
	put_text(line, " (0x");
	put_number(line, (uintptr_t)frame->done, 16, 1);
	put_text(line, "), ");
	put_number(line, frame->size, 10, 1);
	put_text(line, " bytes");
}

void trace_request(const struct req *req, trace_name_fn *name, trace_write_fn *write)
{
	static const char *const states[] = { "idle", "running", "done" };
	unsigned offset = req->frame_top, end = req->frame_end;
	struct line line = { .size = 0 };

	put_text(&line, "request 0x");
	put_number(&line, (uintptr_t)req, 16, 1);
	put_text(&line, ", ");
	put_text(&line, req->state <= REQ_DONE ? states[req->state] : "in no known state");
	put_text(&line, ", status ");
	put_text(&line, req->status < STATUS_COUNT ? status_name(req->status) : "?");
	put_line(&line, write);
	/* Offsets fall with every frame, so this ends although the memory may be damaged. */
	for (unsigned index = 0; end > 0 && offset < end; index++) {
		const struct frame *frame =
		        (const struct frame *)(const void *)&req->frames[offset];

		if (end > REQ_FRAMES_SIZE || offset % 16 != 0)
			break;
		put_frame(&line, index, frame, name);
		put_line(&line, write);
		end = offset;
		offset = frame->below;
	}
}
