/* SPDX-License-Identifier: Apache-2.0 */
/* Assertions: programmer errors only, never for input or I/O errors. On in every build. */
#ifndef BASE_ASSERT_H
#define BASE_ASSERT_H

_Noreturn void assert_failed(const char *expr, const char *file, int line, const char *func);

/* Cheap checks: arguments, states, ownership. Always compiled in. */
#define assert(expr)                                                                               \
	(__builtin_expect(!!(expr), 1) ? (void)0                                                   \
	                               : assert_failed(#expr, __FILE__, __LINE__, __func__))

/* Checks that cost more than the work they guard (checksums, list walks). Debug and test only. */
#ifdef CHECK_SLOW
#define assert_slow(expr) assert(expr)
#else
#define assert_slow(expr) ((void)sizeof(!!(expr)))
#endif

#define unreachable() assert_failed("unreachable", __FILE__, __LINE__, __func__)

#endif
