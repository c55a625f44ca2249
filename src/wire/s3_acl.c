/* SPDX-License-Identifier: Apache-2.0 */
#include "wire/s3_acl.h"

#include "base/assert.h"

#define GROUPS "http://acs.amazonaws.com/groups/"
static const char uri_all[] = GROUPS "global/AllUsers";
static const char uri_authenticated[] = GROUPS "global/AuthenticatedUsers";
static const char uri_logs[] = GROUPS "s3/LogDelivery";

static bool is(struct bytes text, const char *word)
{
	return bytes_equal(text, bytes_of(word, strlen(word)));
}

static bool add(struct s3_acl *acl, uint8_t permission, enum s3_grantee grantee, struct bytes id)
{
	if (acl->count == S3_GRANTS_MAX || id.size > 255)
		return false;
	acl->grants[acl->count++] = (struct s3_grant){
		.permission = permission,
		.grantee = (uint8_t)grantee,
		.id = id,
	};
	return true;
}

bool s3_acl_canned(struct s3_acl *acl, struct bytes name, struct bytes owner,
                   struct bytes bucket_owner)
{
	*acl = (struct s3_acl){ 0 };
	add(acl, S3_FULL_CONTROL, S3_GRANTEE_USER, owner);
	if (is(name, "private"))
		return true;
	if (is(name, "public-read") || is(name, "public-read-write")) {
		add(acl, S3_READ, S3_GRANTEE_ALL, (struct bytes){ 0 });
		if (is(name, "public-read-write"))
			add(acl, S3_WRITE, S3_GRANTEE_ALL, (struct bytes){ 0 });
		return true;
	}
	if (is(name, "authenticated-read"))
		return add(acl, S3_READ, S3_GRANTEE_AUTHENTICATED, (struct bytes){ 0 });
	if (is(name, "log-delivery-write")) {
		add(acl, S3_WRITE, S3_GRANTEE_LOGS, (struct bytes){ 0 });
		return add(acl, S3_READ_ACP, S3_GRANTEE_LOGS, (struct bytes){ 0 });
	}
	if (is(name, "bucket-owner-read") || is(name, "bucket-owner-full-control")) {
		if (bytes_equal(owner, bucket_owner))
			return true;
		return add(acl, is(name, "bucket-owner-read") ? S3_READ : S3_FULL_CONTROL,
		           S3_GRANTEE_USER, bucket_owner);
	}
	return is(name, "aws-exec-read");
}

static uint8_t permission_of(struct bytes name)
{
	if (is(name, "FULL_CONTROL"))
		return S3_FULL_CONTROL;
	if (is(name, "READ"))
		return S3_READ;
	if (is(name, "WRITE"))
		return S3_WRITE;
	if (is(name, "READ_ACP"))
		return S3_READ_ACP;
	return is(name, "WRITE_ACP") ? S3_WRITE_ACP : 0;
}

static bool group_of(struct bytes uri, enum s3_grantee *ret_grantee)
{
	if (is(uri, uri_all))
		*ret_grantee = S3_GRANTEE_ALL;
	else if (is(uri, uri_authenticated))
		*ret_grantee = S3_GRANTEE_AUTHENTICATED;
	else if (is(uri, uri_logs))
		*ret_grantee = S3_GRANTEE_LOGS;
	else
		return false;
	return true;
}

/* A grant as its elements come. */
struct reading {
	struct s3_grant grant;
	bool has_grantee;
};

static enum s3_error read_element(struct s3_acl *acl, const struct xml *xml,
                                  struct reading *reading)
{
	enum s3_grantee group = S3_GRANTEE_USER;

	if (xml_name_is(xml, "ID") && xml_parent_is(xml, 1, "Owner")) {
		acl->owner = xml->text;
	} else if (xml_name_is(xml, "ID")) {
		reading->grant.grantee = S3_GRANTEE_USER;
		reading->grant.id = xml->text;
		reading->has_grantee = true;
	} else if (xml_name_is(xml, "EmailAddress")) {
		reading->grant.grantee = S3_GRANTEE_EMAIL;
		reading->grant.id = xml->text;
		reading->has_grantee = true;
	} else if (xml_name_is(xml, "URI")) {
		if (!group_of(xml->text, &group))
			return S3_INVALID_ARGUMENT;
		reading->grant.grantee = (uint8_t)group;
		reading->has_grantee = true;
	} else if (xml_name_is(xml, "Permission")) {
		reading->grant.permission = permission_of(xml->text);
		if (reading->grant.permission == 0)
			return S3_MALFORMED_ACL;
	} else if (xml_name_is(xml, "Grant")) {
		if (!reading->has_grantee || reading->grant.permission == 0 ||
		    !add(acl, reading->grant.permission, (enum s3_grantee)reading->grant.grantee,
		         reading->grant.id))
			return S3_MALFORMED_ACL;
		*reading = (struct reading){ 0 };
	}
	return S3_NONE;
}

enum s3_error s3_acl_parse_xml(struct s3_acl *acl, uint8_t *data, size_t size)
{
	struct reading reading = { 0 };
	bool has_list = false;
	enum xml_event event;
	struct xml xml;

	*acl = (struct s3_acl){ 0 };
	xml_init(&xml, data, size);
	while ((event = xml_next(&xml)) == XML_OPEN || event == XML_CLOSE) {
		enum s3_error error;

		if (event == XML_OPEN) {
			if (xml.depth == 1 && !xml_name_is(&xml, "AccessControlPolicy"))
				return S3_MALFORMED_ACL;
			has_list |= xml_name_is(&xml, "AccessControlList");
			continue;
		}
		error = read_element(acl, &xml, &reading);
		if (error != S3_NONE)
			return error;
	}
	return event == XML_END && has_list ? S3_NONE : S3_MALFORMED_ACL;
}

enum s3_error s3_acl_add_header(struct s3_acl *acl, uint8_t permission, struct bytes value)
{
	while (value.size > 0) {
		struct bytes item = bytes_trim(bytes_cut(&value, ','));
		struct bytes name = bytes_trim(bytes_cut(&item, '='));
		enum s3_grantee grantee;

		item = bytes_trim(item);
		if (item.size >= 2 && item.data[0] == '"' && item.data[item.size - 1] == '"')
			item = bytes_of(item.data + 1, item.size - 2);
		if (bytes_equal_ignoring_case(name, BYTES("id")))
			grantee = S3_GRANTEE_USER;
		else if (bytes_equal_ignoring_case(name, BYTES("emailaddress")))
			grantee = S3_GRANTEE_EMAIL;
		else if (!bytes_equal_ignoring_case(name, BYTES("uri")) ||
		         !group_of(item, &grantee))
			return S3_INVALID_ARGUMENT;
		if (grantee > S3_GRANTEE_EMAIL)
			item = (struct bytes){ 0 };
		if (!add(acl, permission, grantee, item))
			return S3_INVALID_ARGUMENT;
	}
	return S3_NONE;
}

/* Each grant: permission, grantee, size of the id, id. */
void s3_acl_encode(const struct s3_acl *acl, struct bytes owner, struct text *out)
{
	if (acl->count == 1 && acl->grants[0].grantee == S3_GRANTEE_USER &&
	    acl->grants[0].permission == S3_FULL_CONTROL && bytes_equal(acl->grants[0].id, owner))
		return;
	text_put(out, 1); /* so that a list without grants is not nothing */
	for (uint32_t i = 0; i < acl->count; i++) {
		const struct s3_grant *grant = &acl->grants[i];

		assert(grant->grantee != S3_GRANTEE_EMAIL && grant->id.size <= 255);
		text_put(out, (char)grant->permission);
		text_put(out, (char)grant->grantee);
		text_put(out, (char)grant->id.size);
		text_add(out, grant->id);
	}
}

void s3_acl_decode(struct s3_acl *acl, struct bytes kept, struct bytes owner)
{
	size_t at = 1;

	*acl = (struct s3_acl){ 0 };
	if (kept.size == 0) {
		add(acl, S3_FULL_CONTROL, S3_GRANTEE_USER, owner);
		return;
	}
	while (kept.size - at >= 3) {
		const uint8_t *row = kept.data + at;

		if (row[1] > S3_GRANTEE_LOGS || kept.size - at - 3 < row[2] ||
		    !add(acl, row[0] & S3_FULL_CONTROL, (enum s3_grantee)row[1],
		         bytes_of(row + 3, row[2]))) {
			acl->count = 0;
			return;
		}
		at += 3u + row[2];
	}
}

bool s3_acl_allows(const struct s3_acl *acl, struct bytes user, uint8_t permission)
{
	uint8_t granted = 0;

	for (uint32_t i = 0; i < acl->count; i++) {
		const struct s3_grant *grant = &acl->grants[i];

		if (grant->grantee == S3_GRANTEE_ALL ||
		    (grant->grantee == S3_GRANTEE_AUTHENTICATED && user.size > 0) ||
		    (grant->grantee == S3_GRANTEE_USER && user.size > 0 &&
		     bytes_equal(grant->id, user)))
			granted |= grant->permission;
	}
	return (granted & permission) == permission;
}

bool s3_acl_is_public(const struct s3_acl *acl)
{
	for (uint32_t i = 0; i < acl->count; i++) {
		if (acl->grants[i].grantee == S3_GRANTEE_ALL ||
		    acl->grants[i].grantee == S3_GRANTEE_AUTHENTICATED)
			return true;
	}
	return false;
}

void s3_owner_write_xml(struct bytes id, const struct s3_names *names, const char *element,
                        struct text *out)
{
	xml_open(out, element);
	xml_bytes(out, "ID", id);
	xml_bytes(out, "DisplayName", names->name_of(names->owner, id));
	xml_close(out, element);
}

static void write_grantee(const struct s3_grant *grant, const struct s3_names *names,
                          struct text *out)
{
	bool user = grant->grantee == S3_GRANTEE_USER;

	text_string(out, "<Grantee xmlns:xsi=\"http://www.w3.org/2001/XMLSchema-instance\""
	                 " xsi:type=\"");
	text_string(out, user ? "CanonicalUser" : "Group");
	text_string(out, "\">");
	if (user) {
		xml_bytes(out, "ID", grant->id);
		xml_bytes(out, "DisplayName", names->name_of(names->owner, grant->id));
	} else {
		xml_string(out, "URI",
		           grant->grantee == S3_GRANTEE_ALL             ? uri_all
		           : grant->grantee == S3_GRANTEE_AUTHENTICATED ? uri_authenticated
		                                                        : uri_logs);
	}
	xml_close(out, "Grantee");
}

void s3_acl_write_xml(const struct s3_acl *acl, struct bytes owner, const struct s3_names *names,
                      struct text *out)
{
	static const char *const permissions[] = {
		[S3_READ] = "READ",
		[S3_WRITE] = "WRITE",
		[S3_READ_ACP] = "READ_ACP",
		[S3_WRITE_ACP] = "WRITE_ACP",
		[S3_FULL_CONTROL] = "FULL_CONTROL",
	};

	xml_start(out);
	xml_open_in(out, "AccessControlPolicy");
	s3_owner_write_xml(owner, names, "Owner", out);
	xml_open(out, "AccessControlList");
	for (uint32_t i = 0; i < acl->count; i++) {
		const char *permission = permissions[acl->grants[i].permission & S3_FULL_CONTROL];

		xml_open(out, "Grant");
		write_grantee(&acl->grants[i], names, out);
		xml_string(out, "Permission", permission == NULL ? "READ" : permission);
		xml_close(out, "Grant");
	}
	xml_close(out, "AccessControlList");
	xml_close(out, "AccessControlPolicy");
}
