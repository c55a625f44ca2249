/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_MACROS_H
#define BASE_MACROS_H

#include <stddef.h>

#define array_count(a) (sizeof(a) / sizeof((a)[0]))
#define align_up(n, a) (((n) + (a)-1) & ~((size_t)(a)-1))
#define container_of(ptr, type, member)                                                            \
	((type *)(void *)((char *)(1 ? (ptr) : &((type *)0)->member) - offsetof(type, member)))

#endif
