/* SPDX-License-Identifier: Apache-2.0 */
/* Names of this program's functions, static ones too, for the last words of a process. */
#ifndef CLI_SYMBOLS_H
#define CLI_SYMBOLS_H

#include <stddef.h>
#include <stdint.h>

/* Looks at the program's own file once. A stripped one has no names, and none are given then. */
void symbols_open(void);

/*
 * The name in out, terminated; returns its size, or 0: not known. Takes no lock and no memory, so
 * signal handlers may call it. As trace_name_fn of core/trace.h.
 */
size_t symbols_name(uintptr_t address, char *out, size_t out_max);

#endif
