/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Layers, and stacks of them from text: "cache size=1G | uring path=/dev/nvme0n1". One grammar for
 * the configuration, the command line and tests.
 *
 *   stack  = stage *( "|" stage )             each stands on the one after it
 *   stage  = name *( key "=" value ) [ "{" leg *( "|" leg ) "}" ]
 *   leg    = stage | "(" stack ")"            several devices side by side
 *   value  = bare | "quoted"                  bare: no blank and none of | { } ( ) "
 *
 *   mirror quorum=2 { uring path=a.img | (checksum | uring path=b.img) }
 */
#ifndef LAYER_LAYER_H
#define LAYER_LAYER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/conf_value.h"
#include "proto/blk.h"

enum {
	STACK_TEXT_MAX = 4095,
	STACK_STAGES_MAX = 64,
	STACK_LEGS_MAX = 16, /* devices that one layer stands on */
	STACK_DEPTH_MAX = 8, /* braces in braces */
	STACK_OPTIONS_MAX = 12,
	STACK_ERROR_SIZE = 640, /* terminator included: a sentence, the text, a line of carets */
	LAYER_WHY_SIZE = 400,   /* the sentence */
	/*
	 * Bytes of frames that a stack may push on a request: what is left beside those of a face
	 * and of the way to another worker. A `fork` layer starts anew.
	 */
	STACK_FRAMES_MAX = REQ_FRAMES_SIZE - 64 - 64,
};

struct bufs;
struct layer_open;

/*
 * A kind of layer, or of device, const, in its own file; blk_layers[] in layer/table.c lists all
 * layers. Options are settings: types, units, ranges and texts as in the configuration; one without
 * an `initial` must be said.
 */
struct blk_layer {
	const char *name;
	const char *help; /* a sentence */
	const struct conf_setting *options;
	uint8_t option_count;         /* <= STACK_OPTIONS_MAX */
	uint8_t lower_min, lower_max; /* devices it stands on; 0: it is a device itself */
	/* Allocates. After a failure it has closed nothing of `lower`, and layer_fail() said why.
	 */
	enum status (*open)(struct layer_open *open, struct blk **out);
	/*
	 * Completes `req` when the device may be used: reads what the layer keeps below. NULL: it
	 * may be at once. After a failure it is closed, not stopped.
	 */
	void (*start)(struct blk *blk, struct req *req);
	/* More for people about a running one, in out of out_max bytes. NULL: nothing. */
	void (*describe)(const struct blk *blk, char *out, size_t out_max);
};

extern const struct blk_layer *const blk_layers[]; /* ends with NULL */

struct layer_value {
	const char *text; /* NULL: not said, and there is no default */
	uint64_t number;  /* as of a struct conf_value */
	bool said;        /* not the default */
};

/*
 * Where a stack stands: the worker, what it may take, and the devices there. Memory: the caller's,
 * until stack_close().
 */
struct stack_env {
	struct worker *worker;
	uint64_t memory;                        /* bytes left for layers: they take from it */
	uint64_t seed;                          /* for chance: retries, sampling */
	const struct blk_layer *const *devices; /* more rows, ends with NULL; NULL: none */
	void *owner;                            /* theirs, and read_file()'s */
	/* For keys: at most size_max bytes of a file. NULL: there are no files here. */
	enum status (*read_file)(void *owner, const char *path, void *data, size_t size_max,
	                         size_t *size);
};

/* What a layer is opened with. Memory: stack_open()'s, for the call. */
struct layer_open {
	const struct blk_layer *layer;
	struct stack_env *env;
	const struct layer_value *values; /* by option; they live as long as the stack */
	struct blk **lower;
	unsigned lower_count;
	int bad_option; /* layer_fail_option() */
	char why[LAYER_WHY_SIZE];
};

/* For open(): says why, to people. Returns `status`. */
enum status layer_fail(struct layer_open *open, enum status status, const char *format, ...)
        __attribute__((format(printf, 3, 4)));
/* The same, and that an option's value is the reason. INVALID. */
enum status layer_fail_option(struct layer_open *open, unsigned option, const char *format, ...)
        __attribute__((format(printf, 3, 4)));

/*
 * Zeroed memory out of the account, aligned to 4 KiB when it is that large; NULL after
 * layer_fail(): the account has too little, or the machine. layer_free(): the account forgets it.
 */
void *layer_memory_open(struct layer_open *open, size_t size);
void layer_memory_close(struct stack_env *env, void *memory, size_t size);

/* What most layers are: themselves on one device, with its geometry. */
#define LAYER_DEVICE(lower_, ops_, frame_size_)                                                    \
	((struct blk){ .ops = (ops_),                                                              \
	               .worker = (lower_)->worker,                                                 \
	               .geometry = (lower_)->geometry,                                             \
	               .frames_size =                                                              \
	                       (lower_)->frames_size + (uint32_t)align_up((frame_size_), 16) })

/* A stack's text understood: who stands on whom. Pure. */
struct stack_word {
	uint16_t at, size; /* in text */
};

struct stack_stage {
	struct stack_word name;
	int16_t parent;   /* -1: the top */
	uint16_t leg;     /* which of the parent's devices it is */
	uint16_t lowers;  /* devices it stands on */
	uint16_t options; /* that were said */
	struct stack_word keys[STACK_OPTIONS_MAX];
	struct stack_word values[STACK_OPTIONS_MAX]; /* with their quotes */
};

/* Stages in the order of the text, so that a parent comes before what it stands on. */
struct stack_tree {
	unsigned stage_count;
	struct stack_stage stages[STACK_STAGES_MAX];
	uint16_t text_size;
	char text[STACK_TEXT_MAX + 1];
};

/* INVALID: `error` says what is wrong and points at it. */
enum status stack_parse(struct stack_tree *tree, const char *text,
                        char error[static STACK_ERROR_SIZE]) __attribute__((warn_unused_result));

/* A sentence, and `word` of the text underlined. */
void stack_point(const struct stack_tree *tree, struct stack_word word, const char *why,
                 char error[static STACK_ERROR_SIZE]);

/* Memory: its own, from open to close. Thread: the worker's, and before its first turn any. */
struct stack;

/*
 * Opens a stack from the bottom up. INVALID: the text; others: what a layer was refused. On failure
 * nothing is left open. Control path: allocates, may block. Whoever gets it starts it.
 */
enum status stack_open(const char *text, struct stack_env *env, struct stack **out,
                       char error[static STACK_ERROR_SIZE]) __attribute__((warn_unused_result));

/* INVALID: the text is none of a stack, whatever the devices. */
enum status stack_check(const char *text, const struct blk_layer *const *devices,
                        char error[static STACK_ERROR_SIZE]) __attribute__((warn_unused_result));

/*
 * Completes req, which is the caller's and was not submitted, when the top may be used: from the
 * bottom up every layer reads what it keeps. stack_error() says to people why it failed.
 */
void stack_start(struct stack *stack, struct req *req);
const char *stack_error(const struct stack *stack);

/* Completes req when nothing runs and everything is durable, top down. No commands any more. */
void stack_stop(struct stack *stack, struct req *req);

void stack_close(struct stack *stack); /* not started, or stopped, or failed to start */

struct blk *stack_top(const struct stack *stack);

/* For people: the stack as lines, with geometry, guarantees and frames. Returns false at the end.
 */
struct stack_part {
	const struct blk_layer *layer;
	const struct blk *blk;
	unsigned depth;
};
bool stack_part(const struct stack *stack, unsigned index, struct stack_part *part);

/*
 * A device of another worker, shown as one of `worker`: requests cross the ring. NULL: no memory.
 * blk->ops->close() gives it back, and leaves `lower` open.
 */
struct blk *blk_remote_open(struct worker *worker, struct blk *lower);

#endif
