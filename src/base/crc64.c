/* SPDX-License-Identifier: Apache-2.0 */
#include "base/crc64.h"

#include <isa-l/crc64.h>

/* ISA-L complements before and after, Redis does neither. */
uint64_t crc64(uint64_t crc, struct bytes bytes)
{
	if (bytes.size == 0)
		return crc;
	return ~crc64_jones_refl(~crc, bytes.data, bytes.size);
}
