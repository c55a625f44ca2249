/* SPDX-License-Identifier: Apache-2.0 */
/*
 * NVMe as its specifications have it (Base 2.0, NVM Command Set 1.0, Fabrics in Base 2.0):
 * commands, completions, status codes and the data structures that both a target and an initiator
 * need. Pure. All numbers are little-endian, as this machine's are.
 */
#ifndef WIRE_NVME_H
#define WIRE_NVME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "structures are copied as they are");

enum {
	NVME_NQN_SIZE = 256, /* of the field; a name has at most 223 bytes and a zero */
	NVME_NQN_MAX = 223,
	NVME_PAGE_SIZE = 4096, /* the unit of MDTS, and the size of identify data */
	NVME_DSM_RANGES_MAX = 256,
	NVME_CONTROLLER_ANY = 0xffff, /* connect: the target chooses */
	NVME_CONTROLLER_STATIC = 0xfffe,
	NVME_CONTROLLER_MAX = 0xffef,
	NVME_VERSION_2_0 = 0x00020000,
};

#define NVME_NAMESPACE_ALL 0xffffffffu
#define NVME_DISCOVERY_NQN "nqn.2014-08.org.nvmexpress.discovery"

enum nvme_admin_opcode {
	NVME_ADMIN_GET_LOG_PAGE = 0x02,
	NVME_ADMIN_IDENTIFY = 0x06,
	NVME_ADMIN_ABORT = 0x08,
	NVME_ADMIN_SET_FEATURES = 0x09,
	NVME_ADMIN_GET_FEATURES = 0x0a,
	NVME_ADMIN_ASYNC_EVENT = 0x0c,
	NVME_ADMIN_KEEP_ALIVE = 0x18,
};

enum nvme_io_opcode {
	NVME_FLUSH = 0x00,
	NVME_WRITE = 0x01,
	NVME_READ = 0x02,
	NVME_COMPARE = 0x05,
	NVME_WRITE_ZEROES = 0x08,
	NVME_DATASET_MANAGEMENT = 0x09,
	NVME_VERIFY = 0x0c,
};

enum { NVME_FABRICS = 0x7f }; /* the opcode; fctype says which */

enum nvme_fabrics_type {
	NVME_PROPERTY_SET = 0x00,
	NVME_CONNECT = 0x01,
	NVME_PROPERTY_GET = 0x04,
};

/* Status codes with their type: type << 8 | code. */
enum nvme_status {
	NVME_SC_SUCCESS = 0x000,
	NVME_SC_INVALID_OPCODE = 0x001,
	NVME_SC_INVALID_FIELD = 0x002,
	NVME_SC_COMMAND_ID_CONFLICT = 0x003,
	NVME_SC_DATA_TRANSFER_ERROR = 0x004,
	NVME_SC_INTERNAL_ERROR = 0x006,
	NVME_SC_ABORT_REQUESTED = 0x007,
	NVME_SC_ABORTED_QUEUE_DELETED = 0x008,
	NVME_SC_INVALID_NAMESPACE = 0x00b,
	NVME_SC_COMMAND_SEQUENCE_ERROR = 0x00c,
	NVME_SC_SGL_LENGTH_INVALID = 0x00f,
	NVME_SC_SGL_TYPE_INVALID = 0x011,
	NVME_SC_SGL_OFFSET_INVALID = 0x016,
	NVME_SC_HOST_ID_FORMAT = 0x018,
	NVME_SC_KEEP_ALIVE_EXPIRED = 0x019,
	NVME_SC_WRITE_PROTECTED = 0x020,
	NVME_SC_COMMAND_INTERRUPTED = 0x021,
	NVME_SC_TRANSIENT_TRANSPORT = 0x022,
	NVME_SC_LBA_OUT_OF_RANGE = 0x080,
	NVME_SC_CAPACITY_EXCEEDED = 0x081,
	NVME_SC_NAMESPACE_NOT_READY = 0x082,
	NVME_SC_INVALID_QUEUE = 0x101,
	NVME_SC_ABORT_LIMIT = 0x103,
	NVME_SC_ASYNC_EVENT_LIMIT = 0x105,
	NVME_SC_INVALID_LOG_PAGE = 0x109,
	NVME_SC_FEATURE_NOT_SAVEABLE = 0x10d,
	NVME_SC_FEATURE_NOT_CHANGEABLE = 0x10e,
	NVME_SC_CONNECT_FORMAT = 0x180,
	NVME_SC_CONNECT_BUSY = 0x181,
	NVME_SC_CONNECT_INVALID = 0x182,
	NVME_SC_CONNECT_INVALID_HOST = 0x184,
	NVME_SC_READ_ONLY_RANGE = 0x182, /* of I/O commands: attempted write to read only range */
	NVME_SC_WRITE_FAULT = 0x280,
	NVME_SC_READ_ERROR = 0x281,
	NVME_SC_COMPARE_FAILURE = 0x285,
	NVME_SC_ANA_PERSISTENT_LOSS = 0x301,
	NVME_SC_ANA_INACCESSIBLE = 0x302,
	NVME_SC_ANA_TRANSITION = 0x303,
	NVME_SC_HOST_PATH_ERROR = 0x370,
};
enum {
	NVME_STATUS_CODE = 0x7ff, /* of nvme_cqe_status(): type and code */
	NVME_STATUS_DO_NOT_RETRY = 1 << 14,
};

/* A data pointer: the SGL descriptors that fabrics have. */
enum nvme_sgl_type {
	NVME_SGL_IN_CAPSULE = 0x01, /* data block, offset: behind the command in its capsule */
	NVME_SGL_TRANSPORT = 0x5a,  /* transport data block: the host's memory, by C2HData or R2T */
};

struct nvme_sgl {
	uint64_t address; /* in capsule: the offset */
	uint32_t size;    /* bytes */
	uint8_t reserved[3];
	uint8_t type; /* enum nvme_sgl_type */
};
_Static_assert(sizeof(struct nvme_sgl) == 16, "4.1.2");

/* A command, as it lies in a capsule. */
struct nvme_sqe {
	uint8_t opcode;
	uint8_t flags; /* bits 7:6: 01b, the data pointer is an SGL */
	uint16_t cid;
	union {
		uint32_t nsid;
		uint8_t fctype; /* of NVME_FABRICS */
	};
	union {
		uint32_t cdw2[2];
		uint8_t fabrics_reserved[8];
	};
	uint64_t metadata;
	struct nvme_sgl sgl;
	uint32_t cdw10, cdw11, cdw12, cdw13, cdw14, cdw15;
};
_Static_assert(sizeof(struct nvme_sqe) == 64, "3.3.3.1");
enum { NVME_SQE_SGL = 0x40, NVME_SQE_PSDT = 0xc0, NVME_SQE_FUSE = 0x03 };

/* A completion. */
struct nvme_cqe {
	uint64_t result; /* dwords 0 and 1 */
	uint16_t sq_head;
	uint16_t sq_id; /* 0 on fabrics */
	uint16_t cid;
	uint16_t status; /* status << 1 */
};
_Static_assert(sizeof(struct nvme_cqe) == 16, "3.3.3.2");

/* The fields of commands that are not whole dwords. */
static inline uint64_t nvme_lba(const struct nvme_sqe *sqe)
{
	return sqe->cdw10 | (uint64_t)sqe->cdw11 << 32;
}

static inline uint32_t nvme_block_count(const struct nvme_sqe *sqe) /* 1..65536 */
{
	return (sqe->cdw12 & 0xffff) + 1;
}

enum {
	NVME_CDW12_FUA = 1 << 30,
	NVME_CDW12_DEALLOCATE = 1 << 25, /* write zeroes */
	NVME_CDW12_PRINFO = 0xf << 26,   /* protection information: none here */
	NVME_DSM_DEALLOCATE = 1 << 2,    /* cdw11 */
};

struct nvme_dsm_range {
	uint32_t attributes;
	uint32_t block_count;
	uint64_t lba;
};
_Static_assert(sizeof(struct nvme_dsm_range) == 16, "NVM command set 3.2.3");

/* Connect: dwords 10 and 11 of the command, and its data. */
struct nvme_connect {
	uint16_t format, queue_id; /* cdw10 */
	uint16_t queue_size;       /* cdw11: entries - 1 */
	uint8_t attributes;
	uint32_t keep_alive_ms; /* cdw12; 0: none */
};
enum {
	NVME_CONNECT_NO_SQ_FLOW = 1 << 2, /* attributes: SQ flow control is disabled */
	NVME_SQ_HEAD_NONE = 0xffff,       /* of the response: it is */
};

struct nvme_connect nvme_connect_of(const struct nvme_sqe *sqe);
void nvme_connect_set(struct nvme_sqe *sqe, const struct nvme_connect *connect);

struct nvme_connect_data {
	uint8_t host_id[16];
	uint16_t controller_id;
	uint8_t reserved[238];
	char subsystem_nqn[NVME_NQN_SIZE];
	char host_nqn[NVME_NQN_SIZE];
	uint8_t reserved_too[256];
};
_Static_assert(sizeof(struct nvme_connect_data) == 1024, "figure 389");

enum nvme_property {
	NVME_PROPERTY_CAP = 0x00, /* 8 bytes */
	NVME_PROPERTY_VS = 0x08,
	NVME_PROPERTY_CC = 0x14,
	NVME_PROPERTY_CSTS = 0x1c,
};

enum {
	NVME_CC_ENABLE = 1 << 0,
	NVME_CC_CSS = 7 << 4,
	NVME_CC_MPS = 0xf << 7,
	NVME_CC_AMS = 7 << 11,
	NVME_CC_SHN = 3 << 14,
	NVME_CC_IOSQES = 0xf << 16,
	NVME_CC_IOCQES = 0xf << 20,
	/* What fabrics want: entries of 64 and 16 bytes, pages of 4 KiB. */
	NVME_CC_USUAL = 6 << 16 | 4 << 20,
	NVME_CSTS_READY = 1 << 0,
	NVME_CSTS_FATAL = 1 << 1,
	NVME_CSTS_SHUTDOWN_DONE = 2 << 2,
};
/* CAP: the entries of a queue less one, contiguous queues, time-out in 500 ms, NVM commands. */
#define NVME_CAP(entries, timeout_500ms)                                                           \
	((uint64_t)((entries)-1) | 1ull << 16 | (uint64_t)(timeout_500ms) << 24 | 1ull << 37)
#define NVME_CAP_ENTRIES(cap) ((uint32_t)((cap)&0xffff) + 1)

enum nvme_cns {
	NVME_CNS_NAMESPACE = 0x00,
	NVME_CNS_CONTROLLER = 0x01,
	NVME_CNS_ACTIVE = 0x02,
	NVME_CNS_DESCRIPTORS = 0x03,
	NVME_CNS_CSI_NAMESPACE = 0x05,
	NVME_CNS_CSI_CONTROLLER = 0x06,
	NVME_CNS_CSI_ACTIVE = 0x07,
	NVME_CNS_INDEPENDENT = 0x08,
	NVME_CNS_COMMAND_SETS = 0x1c,
};

/* Identify controller. Names are padded with blanks and have no terminator, but for the NQN. */
struct __attribute__((packed)) nvme_id_controller {
	uint16_t vid, ssvid;
	char serial[20], model[40], firmware[8];
	uint8_t rab, ieee[3], cmic, mdts;
	uint16_t controller_id;
	uint32_t version, rtd3r, rtd3e, oaes, ctratt;
	uint16_t rrls;
	uint8_t reserved_102[9];
	uint8_t type; /* 1: I/O, 2: discovery */
	uint8_t fguid[16];
	uint16_t crdt[3];
	uint8_t reserved_134[119], nvmsr, vwci, mec;
	uint16_t oacs;
	uint8_t acl, aerl, frmw, lpa, elpe, npss, avscc, apsta;
	uint16_t wctemp, cctemp, mtfa;
	uint32_t hmpre, hmmin;
	uint8_t tnvmcap[16], unvmcap[16];
	uint32_t rpmbs;
	uint16_t edstt;
	uint8_t dsto, fwug;
	uint16_t kas, hctma, mntmt, mxtmt;
	uint32_t sanicap, hmminds;
	uint16_t hmmaxd, nsetidmax, endgidmax;
	uint8_t anatt, anacap;
	uint32_t anagrpmax, nanagrpid, pels;
	uint16_t domain_id;
	uint8_t reserved_358[10], megcap[16], reserved_384[128];
	uint8_t sqes, cqes;
	uint16_t maxcmd;
	uint32_t nn;
	uint16_t oncs, fuses;
	uint8_t fna, vwc;
	uint16_t awun, awupf;
	uint8_t icsvscc, nwpc;
	uint16_t acwu, cdfs;
	uint32_t sgls, mnan;
	uint8_t maxdna[16];
	uint32_t maxcna;
	uint8_t reserved_564[204];
	char subsystem_nqn[NVME_NQN_SIZE];
	uint8_t reserved_1024[768];
	uint32_t ioccsz, iorcsz; /* in 16 bytes */
	uint16_t icdoff;         /* in 16 bytes */
	uint8_t fcatt, msdbd;
	uint16_t ofcs;
	uint8_t reserved_1806[242];
	uint8_t power_states[32][32];
	uint8_t vendor[1024];
};
_Static_assert(sizeof(struct nvme_id_controller) == 4096, "figure 275");
_Static_assert(offsetof(struct nvme_id_controller, oacs) == 256, "figure 275");
_Static_assert(offsetof(struct nvme_id_controller, kas) == 320, "figure 275");
_Static_assert(offsetof(struct nvme_id_controller, sqes) == 512, "figure 275");
_Static_assert(offsetof(struct nvme_id_controller, sgls) == 536, "figure 275");
_Static_assert(offsetof(struct nvme_id_controller, ioccsz) == 1792, "figure 275");
_Static_assert(offsetof(struct nvme_id_controller, power_states) == 2048, "figure 275");

enum {
	NVME_OAES_NAMESPACE = 1 << 8,
	NVME_OAES_ANA = 1 << 11,
	NVME_ONCS_COMPARE = 1 << 0,
	NVME_ONCS_DSM = 1 << 2,
	NVME_ONCS_WRITE_ZEROES = 1 << 3,
	NVME_ONCS_VERIFY = 1 << 7,
	NVME_LPA_EFFECTS = 1 << 1,
	NVME_LPA_EXTENDED = 1 << 2,
	NVME_SGLS_FABRICS = 1 << 0 | 1 << 20 | 1 << 21, /* offsets in capsules; transport blocks */
	NVME_CMIC_ANA = 1 << 3,
};

#define NVME_OAES_DISCOVERY (1u << 31)

/* Identify namespace, NVM command set. */
struct __attribute__((packed)) nvme_id_namespace {
	uint64_t nsze, ncap, nuse; /* blocks */
	uint8_t nsfeat, nlbaf, flbas, mc, dpc, dps, nmic, rescap, fpi, dlfeat;
	uint16_t nawun, nawupf, nacwu, nabsn, nabo, nabspf, noiob;
	uint8_t nvmcap[16];
	uint16_t npwg, npwa, npdg, npda, nows, mssrl;
	uint32_t mcl;
	uint8_t msrc, reserved_81[11];
	uint32_t anagrpid;
	uint8_t reserved_96[3], nsattr;
	uint16_t nvmsetid, endgid;
	uint8_t nguid[16], eui64[8];
	uint32_t lbaf[64]; /* bits 23:16: log2 of the block's bytes; 15:0 metadata */
	uint8_t vendor[3712];
};
_Static_assert(sizeof(struct nvme_id_namespace) == 4096, "NVM command set, figure 97");
_Static_assert(offsetof(struct nvme_id_namespace, anagrpid) == 92, "figure 97");
_Static_assert(offsetof(struct nvme_id_namespace, lbaf) == 128, "figure 97");

enum {
	NVME_NSFEAT_ATOMIC = 1 << 1,  /* NAWUN and its like have values */
	NVME_NSFEAT_OPTIMAL = 1 << 4, /* NPWG and its like have values */
	NVME_DLFEAT_ZEROES = 1,       /* deallocated blocks read as zeroes */
	NVME_DLFEAT_WRITE_ZEROES = 1 << 3,
	NVME_NSATTR_READ_ONLY = 1 << 0,
	NVME_NMIC_SHARED = 1 << 0,
	NVME_NIDT_UUID = 3,
	NVME_NIDT_NGUID = 2,
	NVME_NIDT_CSI = 4,
};

enum nvme_log_page {
	NVME_LOG_SUPPORTED = 0x00,
	NVME_LOG_ERROR = 0x01,
	NVME_LOG_SMART = 0x02,
	NVME_LOG_FIRMWARE = 0x03,
	NVME_LOG_CHANGED_NAMESPACES = 0x04,
	NVME_LOG_EFFECTS = 0x05,
	NVME_LOG_ANA = 0x0c,
	NVME_LOG_FEATURES = 0x12,
	NVME_LOG_DISCOVERY = 0x70,
};

enum nvme_feature {
	NVME_FEATURE_ARBITRATION = 0x01,
	NVME_FEATURE_POWER = 0x02,
	NVME_FEATURE_TEMPERATURE = 0x04,
	NVME_FEATURE_ERROR_RECOVERY = 0x05,
	NVME_FEATURE_WRITE_CACHE = 0x06,
	NVME_FEATURE_QUEUES = 0x07,
	NVME_FEATURE_WRITE_ATOMICITY = 0x0a,
	NVME_FEATURE_ASYNC_EVENTS = 0x0b,
	NVME_FEATURE_KEEP_ALIVE = 0x0f,
	NVME_FEATURE_HOST_ID = 0x81,
};

/* Dword 0 of the completion of an asynchronous event request. */
#define NVME_EVENT(type, info, page)                                                               \
	((uint32_t)(type) | (uint32_t)(info) << 8 | (uint32_t)(page) << 16)
enum { NVME_EVENT_NOTICE = 2, NVME_NOTICE_NAMESPACE = 0, NVME_NOTICE_ANA = 3 };

struct __attribute__((packed)) nvme_smart_log {
	uint8_t critical_warning;
	uint16_t temperature; /* Kelvin */
	uint8_t available_spare, spare_threshold, percentage_used, reserved_6[26];
	uint64_t units_read[2], units_written[2]; /* 1000 x 512 bytes, rounded up */
	uint64_t host_reads[2], host_writes[2];
	uint8_t reserved_96[416];
};
_Static_assert(sizeof(struct nvme_smart_log) == 512, "figure 207");

/* The discovery log: a header, and an entry for each way to a subsystem. */
struct __attribute__((packed)) nvme_discovery_header {
	uint64_t generation, record_count;
	uint16_t record_format;
	uint8_t reserved[1006];
};
_Static_assert(sizeof(struct nvme_discovery_header) == 1024, "figure 263");

struct __attribute__((packed)) nvme_discovery_entry {
	uint8_t transport, address_family; /* 3: TCP; 1: IPv4, 2: IPv6 */
	uint8_t subsystem_type;            /* 2: NVM; 3: this discovery subsystem; 1: another */
	uint8_t requirements;              /* bit 2: SQ flow control may be disabled; 1:0 TLS */
	uint16_t port_id, controller_id, admin_queue_max, flags;
	uint8_t reserved_12[20];
	char service[32]; /* the port; padded with blanks */
	uint8_t reserved_64[192];
	char subsystem_nqn[NVME_NQN_SIZE];
	char address[256];
	uint8_t security; /* of TCP: 0: none, 2: TLS */
	uint8_t specific[255];
};
_Static_assert(sizeof(struct nvme_discovery_entry) == 1024, "figure 264");

enum { NVME_ADRFAM_IPV4 = 1, NVME_ADRFAM_IPV6 = 2, NVME_TRTYPE_TCP = 3 };

/* Asymmetric namespace access. */
enum nvme_ana_state {
	NVME_ANA_OPTIMIZED = 0x01,
	NVME_ANA_NON_OPTIMIZED = 0x02,
	NVME_ANA_INACCESSIBLE = 0x03,
	NVME_ANA_PERSISTENT_LOSS = 0x04,
	NVME_ANA_CHANGE = 0x0f,
};

struct __attribute__((packed)) nvme_ana_header {
	uint64_t change_count;
	uint16_t group_count;
	uint8_t reserved[6];
};
_Static_assert(sizeof(struct nvme_ana_header) == 16, "figure 220");

struct __attribute__((packed)) nvme_ana_group {
	uint32_t group_id, namespace_count;
	uint64_t change_count;
	uint8_t state, reserved[15]; /* then namespace_count numbers of namespaces */
};
_Static_assert(sizeof(struct nvme_ana_group) == 32, "figure 221");

/*
 * The name in a field of NVME_NQN_SIZE bytes, or of the caller's: 1 to 223 bytes of printable ASCII
 * that begin with "nqn." or are the discovery name, and a zero behind.
 */
bool nvme_nqn_is_valid(const char *nqn, size_t field_size);

/* Text padded with blanks, cut where it does not fit. */
void nvme_pad(char *out, size_t size, const char *text);

/* A uuid as text of 36 bytes, and a zero. */
enum { NVME_UUID_TEXT_SIZE = 37 };
void nvme_uuid_text(const uint8_t uuid[static 16], char out[static NVME_UUID_TEXT_SIZE]);

/* What a command of the NVM command set ends with, when its device ended with `status`. */
uint16_t nvme_status_from(enum status status, bool is_write);

/* And what a device of this machine ends with, when a target answered with that: bits 14:0. */
enum status nvme_status_to(uint16_t status);
const char *nvme_status_text(uint16_t status); /* for people */

/*
 * The state of a namespace's group in an ANA log of `size` bytes; 0: it is not in it, or the log is
 * malformed.
 */
uint8_t nvme_ana_state_of(const uint8_t *log, size_t size, uint32_t nsid);

#endif
