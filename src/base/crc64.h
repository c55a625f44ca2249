/* SPDX-License-Identifier: Apache-2.0 */
/* CRC-64 with Jones's polynomial, as DUMP payloads and snapshot files of Redis end in. */
#ifndef BASE_CRC64_H
#define BASE_CRC64_H

#include "base/bytes.h"

/* crc64(0, "123456789") is 0xe9c6d914c4b8d9ca. `crc` is the value for the bytes before. */
uint64_t crc64(uint64_t crc, struct bytes bytes);

#endif
