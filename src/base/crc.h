/* SPDX-License-Identifier: Apache-2.0 */
/* The checksums of S3 that base/hash.h lacks, and how those of two halves become that of both. */
#ifndef BASE_CRC_H
#define BASE_CRC_H

#include "base/bytes.h"

/* CRC-32 of gzip (reflected 0x04c11db7): of "123456789" it is 0xcbf43926. */
uint32_t crc32_gzip(uint32_t crc, struct bytes bytes);

/* CRC-64/NVME (reflected 0xad93d23594c93659): of "123456789" it is 0xae8b14860a799888. */
uint64_t crc64_nvme(uint64_t crc, struct bytes bytes);

/*
 * The checksum of A followed by B, from theirs and the bytes of B. All of them complement before
 * and after, and are reflected.
 */
uint32_t crc32_gzip_combine(uint32_t a, uint32_t b, uint64_t b_size);
uint32_t crc32c_combine(uint32_t a, uint32_t b, uint64_t b_size);
uint64_t crc64_nvme_combine(uint64_t a, uint64_t b, uint64_t b_size);

#endif
