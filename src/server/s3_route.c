/* SPDX-License-Identifier: Apache-2.0 */
/* Which operation a request asks for. */
#include "base/assert.h"
#include "base/macros.h"
#include "server/s3_internal.h"

/* Parameters that say which operation is meant; those that no row has are not implemented. */
static const char *const subresources[] = {
	"accelerate",
	"acl",
	"analytics",
	"attributes",
	"cors",
	"delete",
	"encryption",
	"intelligent-tiering",
	"inventory",
	"legal-hold",
	"lifecycle",
	"location",
	"logging",
	"metrics",
	"notification",
	"object-lock",
	"ownershipControls",
	"policy",
	"policyStatus",
	"publicAccessBlock",
	"replication",
	"requestPayment",
	"restore",
	"retention",
	"select",
	"tagging",
	"torrent",
	"uploadId",
	"uploads",
	"versioning",
	"versions",
	"website",
	"renameObject",
	"session",
	"metadataTable",
	"append",
	"metadataConfiguration",
	"abac",
};

/* What has no value and is nothing that S3 knows: a subresource of tomorrow. */
static bool is_subresource(const struct s3_call *call, const struct http_field *parameter)
{
	static const char *const plain[] = {
		"prefix",      "delimiter",         "marker",
		"max-keys",    "list-type",         "continuation-token",
		"start-after", "encoding-type",     "fetch-owner",
		"key-marker",  "version-id-marker", "upload-id-marker",
		"max-uploads", "max-parts",         "part-number-marker",
		"versionId",   "partNumber",        "x-id",
		"max-buckets", "allow-unordered",
	};
	struct bytes name = parameter->name;

	(void)call;
	for (size_t i = 0; i < array_count(subresources); i++) {
		if (bytes_equal(name, bytes_of(subresources[i], strlen(subresources[i]))))
			return true;
	}
	if (parameter->value.size > 0 || bytes_starts_with(name, BYTES("X-Amz-")) ||
	    bytes_starts_with(name, BYTES("response-")))
		return false;
	for (size_t i = 0; i < array_count(plain); i++) {
		if (bytes_equal(name, bytes_of(plain[i], strlen(plain[i]))))
			return false;
	}
	return name.size > 0;
}

static const struct s3_route not_implemented;

const struct s3_route *s3_route_find(const struct s3_call *call)
{
	enum s3_target target = call->bucket.size == 0 ? S3_ON_SERVICE
	                        : call->key.size == 0  ? S3_ON_BUCKET
	                                               : S3_ON_OBJECT;
	const struct http_field *subresource = NULL;
	bool known = false;

	for (uint32_t i = 0; i < call->request->parameter_count; i++) {
		if (is_subresource(call, &call->request->parameters[i]))
			subresource = &call->request->parameters[i];
	}
	for (size_t i = 0; i < s3_route_count; i++) {
		const struct s3_route *route = &s3_routes[i];
		bool same;

		if (route->target != target)
			continue;
		same = route->parameter == NULL
		               ? subresource == NULL
		               : subresource != NULL &&
		                         bytes_equal(subresource->name,
		                                     bytes_of(route->parameter,
		                                              strlen(route->parameter)));
		if (same && route->method == call->request->method)
			return route;
		known |= same && !(route->flags & S3_ROUTE_STUB);
	}
	return subresource != NULL && !known ? &not_implemented : NULL;
}
