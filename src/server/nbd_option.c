/* SPDX-License-Identifier: Apache-2.0 */
/* The handshake: options until the client has chosen an export. One is answered at a time. */
#include "base/assert.h"
#include "server/nbd_internal.h"

/* Of a list of all exports, the longest of all replies. */
enum {
	OUTPUT_SIZE = EXPORTS_MAX * (NBD_OPTION_REPLY_SIZE + 4 + EXPORT_NAME_SIZE_MAX) +
	              NBD_OPTION_REPLY_SIZE,
	BLOCK_PREFERRED = 4096,
};
_Static_assert((int)OUTPUT_SIZE <= 64 << 10, "a buffer of the third class");

/* What replies of an option are written to. */
struct out {
	struct nbd_connection *connection;
	struct buf *buf;
	uint32_t option;
};

static uint8_t *out_end(const struct out *out)
{
	return out->buf->data + out->buf->used;
}

static void out_add(struct out *out, size_t size)
{
	out->buf->used += (uint32_t)size;
	assert(out->buf->used <= out->buf->size);
}

static void say(struct out *out, uint32_t reply, const char *text)
{
	out_add(out, nbd_write_option_text(out_end(out), out->option, reply, text));
}

bool nbd_take_flags(struct nbd_connection *connection, struct bytes *input)
{
	const uint8_t *data = nbd_gather(&connection->gatherer, NBD_CLIENT_FLAGS_SIZE, input);
	uint32_t flags;

	if (data == NULL)
		return false;
	flags = nbd_client_flags_decode(data);
	if (flags & ~(uint32_t)(NBD_FIXED_NEWSTYLE | NBD_NO_ZEROES)) {
		nbd_connection_malformed(connection);
		return false;
	}
	if (flags & NBD_FIXED_NEWSTYLE)
		connection->flags |= NBD_CONNECTION_FIXED;
	if (flags & NBD_NO_ZEROES)
		connection->flags |= NBD_CONNECTION_NO_ZEROES;
	connection->phase = NBD_PHASE_OPTION;
	return true;
}

/* Exports whose blocks the protocol cannot name are not there. */
static bool can_serve(const struct export *export)
{
	const struct blk_geometry *geometry = &export->blk->geometry;

	return geometry->block_size <= 64 << 10 && geometry->block_count > 0 &&
	       geometry->block_count <= INT64_MAX / geometry->block_size;
}

/* The empty name is the only export, if there is one only. */
static struct export *find(struct nbd_server *server, struct bytes name)
{
	struct export *found = NULL;

	if (name.size > 0) {
		found = name.size > EXPORT_NAME_SIZE_MAX
		                ? NULL
		                : export_find(server->exports, (const char *)name.data,
		                              (uint32_t)name.size);
		return found != NULL && can_serve(found) ? found : NULL;
	}
	for (uint32_t id = 1; id <= EXPORTS_MAX; id++) {
		struct export *export = export_at(server->exports, id);

		if (export == NULL || !can_serve(export))
			continue;
		if (found != NULL)
			return NULL;
		found = export;
	}
	return found;
}

static struct bytes name_of(const struct export *export)
{
	return bytes_of(export->name, strlen(export->name));
}

/*
 * All connections may be used at once: an export is one device at all workers, and a flush on one
 * of them is a flush of that device.
 */
static void tell_facts(const struct nbd_connection *connection, const struct export *export,
                       struct nbd_export_facts *facts)
{
	const struct blk_geometry *geometry = &export->blk->geometry;
	uint16_t flags = NBD_HAS_FLAGS | NBD_SEND_FLUSH | NBD_CAN_MULTI_CONN | NBD_SEND_CACHE;

	if (export->read_only)
		flags |= NBD_READ_ONLY;
	else
		flags |= NBD_SEND_FUA | NBD_SEND_WRITE_ZEROES | NBD_SEND_FAST_ZERO; /* or ENOTSUP */
	if (!export->read_only && (geometry->ops & 1u << BLK_DISCARD) && geometry->discard_unit > 0)
		flags |= NBD_SEND_TRIM;
	if (connection->flags & NBD_CONNECTION_STRUCTURED)
		flags |= NBD_SEND_DF;
	*facts = (struct nbd_export_facts){
		.size = geometry->block_count * geometry->block_size,
		.flags = flags,
		.block_min = geometry->block_size,
		.block_preferred = geometry->block_size,
		.payload_max = NBD_PAYLOAD_MAX,
	};
	if (facts->block_preferred < BLOCK_PREFERRED)
		facts->block_preferred = BLOCK_PREFERRED;
}

static void choose(struct nbd_connection *connection, struct export *export)
{
	export_enter(export);
	connection->export = export;
	connection->phase = NBD_PHASE_REQUEST;
	connection->deadline_ns = UINT64_MAX;
}

/* This option has no error: what cannot be done ends the connection. */
static void export_name(struct out *out, struct bytes data)
{
	struct nbd_connection *connection = out->connection;
	struct export *export = find(connection->server, data);
	struct nbd_export_facts facts;

	if (export == NULL) {
		nbd_connection_kill(connection);
		return;
	}
	tell_facts(connection, export, &facts);
	out_add(out, nbd_write_export(out_end(out), &facts,
	                              !(connection->flags & NBD_CONNECTION_NO_ZEROES)));
	choose(connection, export);
}

static void go(struct out *out, struct bytes data)
{
	struct nbd_connection *connection = out->connection;
	struct nbd_export_facts facts;
	struct export *export;
	struct nbd_go wanted;

	if (!nbd_go_decode(data, &wanted)) {
		say(out, NBD_REP_ERR_INVALID, "the sizes in this option do not fit");
		return;
	}
	export = find(connection->server, wanted.name);
	if (export == NULL) {
		say(out, NBD_REP_ERR_UNKNOWN, "there is no export of that name");
		return;
	}
	tell_facts(connection, export, &facts);
	out_add(out, nbd_write_info_export(out_end(out), out->option, &facts));
	out_add(out, nbd_write_info_block_size(out_end(out), out->option, &facts));
	if (wanted.wants_name)
		out_add(out, nbd_write_info_text(out_end(out), out->option, NBD_INFO_NAME,
		                                 name_of(export)));
	say(out, NBD_REP_ACK, NULL);
	if (out->option == NBD_OPT_GO)
		choose(connection, export);
}

static void list(struct out *out)
{
	struct export_set *exports = out->connection->server->exports;

	for (uint32_t id = 1; id <= EXPORTS_MAX; id++) {
		const struct export *export = export_at(exports, id);

		if (export != NULL && can_serve(export))
			out_add(out, nbd_write_server(out_end(out), name_of(export)));
	}
	say(out, NBD_REP_ACK, NULL);
}

static void meta_context(struct out *out, struct bytes data)
{
	struct nbd_connection *connection = out->connection;
	bool lists = out->option == NBD_OPT_LIST_META_CONTEXT, wanted = false;
	struct nbd_meta meta;

	if (!lists)
		connection->flags &= ~(uint32_t)NBD_CONNECTION_ALLOCATION;
	if (!nbd_meta_decode(data, &meta) || !(connection->flags & NBD_CONNECTION_STRUCTURED)) {
		say(out, NBD_REP_ERR_INVALID,
		    connection->flags & NBD_CONNECTION_STRUCTURED
		            ? "the sizes in this option do not fit"
		            : "structured replies come first");
		return;
	}
	if (find(connection->server, meta.name) == NULL) {
		say(out, NBD_REP_ERR_UNKNOWN, "there is no export of that name");
		return;
	}
	wanted = lists && meta.count == 0;
	for (uint32_t i = 0; i < meta.count; i++)
		wanted |= nbd_meta_is_allocation(nbd_meta_next(&meta), lists);
	if (wanted) {
		out_add(out, nbd_write_meta_context(out_end(out), out->option,
		                                    lists ? 0 : NBD_ALLOCATION_ID));
		if (!lists)
			connection->flags |= NBD_CONNECTION_ALLOCATION;
	}
	say(out, NBD_REP_ACK, NULL);
}

static void structured(struct out *out, struct bytes data)
{
	if (data.size > 0) {
		say(out, NBD_REP_ERR_INVALID, "this option has no data");
		return;
	}
	out->connection->flags |= NBD_CONNECTION_STRUCTURED;
	say(out, NBD_REP_ACK, NULL);
}

static void answer(struct out *out, struct bytes data)
{
	struct nbd_connection *connection = out->connection;

	switch (out->option) {
	case NBD_OPT_EXPORT_NAME:
		export_name(out, data);
		break;
	case NBD_OPT_ABORT:
		say(out, NBD_REP_ACK, NULL);
		connection->flags |= NBD_CONNECTION_CLOSING;
		break;
	case NBD_OPT_LIST:
		if (data.size > 0)
			say(out, NBD_REP_ERR_INVALID, "this option has no data");
		else
			list(out);
		break;
	case NBD_OPT_INFO:
	case NBD_OPT_GO:
		go(out, data);
		break;
	case NBD_OPT_STRUCTURED_REPLY:
		structured(out, data);
		break;
	case NBD_OPT_LIST_META_CONTEXT:
	case NBD_OPT_SET_META_CONTEXT:
		meta_context(out, data);
		break;
	case NBD_OPT_STARTTLS:
		say(out, NBD_REP_ERR_UNSUP, "this server has no TLS");
		break;
	default:
		say(out, NBD_REP_ERR_UNSUP, NULL);
		break;
	}
}

/* False: there is no memory for the replies now. */
static bool option_run(struct nbd_connection *connection, struct bytes data)
{
	struct out out = {
		.connection = connection,
		.buf = nbd_buf_get(connection->server, OUTPUT_SIZE),
		.option = connection->option.id,
	};

	if (out.buf == NULL) {
		connection->flags |= NBD_CONNECTION_HUNGRY;
		return false;
	}
	out.buf->used = 0;
	connection->phase = NBD_PHASE_OPTION;
	answer(&out, data);
	if (out.buf->used > 0) {
		connection->output = out.buf;
		return true;
	}
	nbd_buf_free(connection->server, out.buf);
	return true;
}

/* Of one that is not looked at. EXPORT_NAME cannot be refused. */
static bool option_refuse(struct nbd_connection *connection)
{
	struct buf *buf;

	if (connection->option.size > NBD_OPTION_SKIP_MAX ||
	    connection->option.id == NBD_OPT_EXPORT_NAME) {
		nbd_connection_malformed(connection);
		return false;
	}
	buf = nbd_buf_get(connection->server, OUTPUT_SIZE);
	if (buf == NULL) {
		nbd_connection_kill(connection);
		return false;
	}
	buf->used = (uint32_t)nbd_write_option_text(buf->data, connection->option.id,
	                                            NBD_REP_ERR_TOO_BIG, NULL);
	connection->output = buf;
	connection->phase = NBD_PHASE_OPTION_SKIP;
	connection->skip_size = connection->option.size;
	return true;
}

bool nbd_take_option(struct nbd_connection *connection, struct bytes *input)
{
	const uint8_t *data = nbd_gather(&connection->gatherer, NBD_OPTION_SIZE, input);

	if (data == NULL)
		return false;
	if (!nbd_option_decode(data, &connection->option) ||
	    ++connection->option_count > NBD_OPTIONS_MAX) {
		nbd_connection_malformed(connection);
		return false;
	}
	/* A client that has not said that it knows errors gets none. */
	if (!(connection->flags & NBD_CONNECTION_FIXED) &&
	    connection->option.id != NBD_OPT_EXPORT_NAME) {
		nbd_connection_malformed(connection);
		return false;
	}
	if (connection->option.size > NBD_OPTION_DATA_MAX)
		return option_refuse(connection);
	connection->phase = NBD_PHASE_OPTION_DATA;
	return true;
}

bool nbd_take_option_data(struct nbd_connection *connection, struct bytes *input)
{
	uint32_t size = connection->option.size, taken;
	struct bytes data = bytes_of(input->data, size);

	if (connection->data == NULL && input->size >= size) {
		if (!option_run(connection, data))
			return false;
		*input = bytes_of(input->data + size, input->size - size);
		return true;
	}
	if (connection->data == NULL) {
		connection->data = nbd_buf_get(connection->server, NBD_OPTION_DATA_MAX);
		if (connection->data == NULL) {
			connection->flags |= NBD_CONNECTION_HUNGRY;
			return false;
		}
		connection->data->used = 0;
	}
	taken = size - connection->data->used;
	if (taken > input->size)
		taken = (uint32_t)input->size;
	memcpy(connection->data->data + connection->data->used, input->data, taken);
	connection->data->used += taken;
	*input = bytes_of(input->data + taken, input->size - taken);
	if (connection->data->used < size ||
	    !option_run(connection, bytes_of(connection->data->data, size)))
		return false;
	nbd_buf_free(connection->server, connection->data);
	connection->data = NULL;
	return true;
}
