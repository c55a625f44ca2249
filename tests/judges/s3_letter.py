#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The S3 face against the letter of the API reference: bad input, corners, and who may what."""
import base64
import datetime
import hashlib
import hmac
import json
import signal
import socket
import threading
import time
import urllib.parse
import zlib

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

from s3_server import KEYS, REGION
from s3_world import (MIB, SSE, case, keys, main, payload, policy_of, post, prefixes, refused,
                      signed_form, statement, upload_parts)

EVERYBODY = "http://acs.amazonaws.com/groups/global/AllUsers"
WITH_KEY = "http://acs.amazonaws.com/groups/global/AuthenticatedUsers"


def raw(client, operation, headers=None, query=None):
    """The same client, with more headers or query parameters in calls of that operation."""
    def add(params, **_):
        params["headers"].update(headers or {})
        params["query_string"].update(query or {})

    client.meta.events.register(f"before-call.s3.{operation}", add)
    return lambda: client.meta.events.unregister(f"before-call.s3.{operation}", add)


def status_of(answer):
    return answer["ResponseMetadata"]["HTTPStatusCode"]


# Buckets.


@case
def names_of_buckets(w):
    for name in ("ab", "Abc", "a_b", "ab-", "-ab", "a..b", "a.-b", "a-.b", "192.168.5.123", "x" * 64,
                 "_ab", "!ab", "ab.", ".ab"):
        got = signed(w, "PUT", "/" + urllib.parse.quote(name))
        assert got.status == 400 and b"<Code>InvalidBucketName</Code>" in got.text, (name, got.text)
    for size in (3, 60, 61, 62, 63):
        name = "a" * (size - 2) + ".b"
        w.main.create_bucket(Bucket=name)
        w.main.put_object(Bucket=name, Key="k", Body=b"")
        assert len(w.main.list_objects(Bucket=name)["Contents"]) == 1
        w.main.delete_object(Bucket=name, Key="k")
        w.main.delete_bucket(Bucket=name)


def signed(w, method, path, body=b"", user="main", query=None, headers=None, region=REGION, skew=0):
    """A request signed by hand: whatever a client's own checks would not let through."""
    access, secret = KEYS[user]
    now = datetime.datetime.utcnow() + datetime.timedelta(seconds=skew)
    stamp, day = now.strftime("%Y%m%dT%H%M%SZ"), now.strftime("%Y%m%d")
    digest = hashlib.sha256(body).hexdigest()
    lines = {"host": f"127.0.0.1:{w.server.s3_port}", "x-amz-content-sha256": digest,
             "x-amz-date": stamp, **(headers or {})}
    names = ";".join(sorted(k.lower() for k in lines))
    words = "&".join(f"{urllib.parse.quote(k, safe='')}={urllib.parse.quote(v, safe='')}"
                     for k, v in sorted((query or {}).items()))
    canonical = "\n".join([method, path, words, *(f"{k.lower()}:{lines[k]}" for k in
                                                  sorted(lines, key=str.lower)), "", names,
                           lines["x-amz-content-sha256"]])
    scope = f"{day}/{region}/s3/aws4_request"
    text = f"AWS4-HMAC-SHA256\n{stamp}\n{scope}\n{hashlib.sha256(canonical.encode()).hexdigest()}"
    key = ("AWS4" + secret).encode()
    for word in (day, region, "s3", "aws4_request", text):
        key = hmac.new(key, word.encode(), hashlib.sha256).digest()
    lines["authorization"] = (f"AWS4-HMAC-SHA256 Credential={access}/{scope},"
                              f"SignedHeaders={names},Signature={key.hex()}")
    return w.request(method, path + ("?" + words if words else ""), body, lines)


@case
def buckets_in_pages(w):
    made = sorted(w.bucket() for _ in range(5))
    seen, more = [], {}
    while True:
        page = w.main.list_buckets(MaxBuckets=2, **more)
        assert len(page["Buckets"]) <= 2
        seen += [b["Name"] for b in page["Buckets"]]
        if "ContinuationToken" not in page:
            break
        more = {"ContinuationToken": page["ContinuationToken"]}
    assert seen == sorted(seen) and set(made) <= set(seen)
    assert seen == [b["Name"] for b in w.main.list_buckets()["Buckets"]]
    page = w.main.list_buckets(Prefix=made[0])
    assert page["Prefix"] == made[0] and made[0] in [b["Name"] for b in page["Buckets"]]
    assert all(b["Name"].startswith(made[0]) for b in page["Buckets"])
    for bad in ("0", "-1", "10001", "x"):
        got = signed(w, "GET", "/", query={"max-buckets": bad})
        assert got.status == 400 and b"InvalidArgument" in got.text, bad


@case
def bucket_made_again(w):
    name = w.filled(["k"])
    w.main.create_bucket(Bucket=name)
    assert keys(w.main.list_objects(Bucket=name)) == ["k"]
    refused(409, "BucketAlreadyExists", w.alt.create_bucket, Bucket=name)
    there = w.bucket(CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
    assert w.main.get_bucket_location(Bucket=there)["LocationConstraint"] == "eu-west-1"
    assert w.main.get_bucket_location(Bucket=name)["LocationConstraint"] is None
    open_ = w.bucket(ACL="public-read")
    refused(409, "BucketAlreadyExists", w.main.create_bucket, Bucket=open_)
    for body, code in ((b"<x/>", b"MalformedXML"), (b"<CreateBucketConfiguration>", b"MalformedXML")):
        got = signed(w, "PUT", "/never-made", body)
        assert got.status == 400 and code in got.text, got.text


@case
def bucket_heads(w):
    name = w.bucket()
    assert w.main.head_bucket(Bucket=name)["BucketRegion"] == REGION
    for method, path, status in (("HEAD", "/none-such", 404), ("HEAD", f"/{name}/none", 404),
                                 ("HEAD", f"/{name}", 403)):
        got = signed(w, method, path, user="alt" if status == 403 else "main")
        assert got.status == status and got.text == b"" and got.headers["x-amz-request-id"]
    answer = refused(404, "NoSuchKey", w.main.get_object, Bucket=name, Key="none")
    assert answer["Error"]["Key"] == "none" and answer["ResponseMetadata"]["RequestId"] == \
        answer["ResponseMetadata"]["HTTPHeaders"]["x-amz-request-id"]
    refused(403, "AccessDenied", w.main.list_objects, Bucket=name, ExpectedBucketOwner="alt")
    w.main.list_objects(Bucket=name, ExpectedBucketOwner="main")


@case
def bucket_facets(w):
    name = w.bucket()
    for call, code in ((w.main.get_bucket_website, "NoSuchWebsiteConfiguration"),
                       (w.main.get_bucket_replication, "ReplicationConfigurationNotFoundError"),
                       (w.main.get_bucket_tagging, "NoSuchTagSet"),
                       (w.main.get_bucket_policy, "NoSuchBucketPolicy"),
                       (w.main.get_bucket_cors, "NoSuchCORSConfiguration"),
                       (w.main.get_bucket_lifecycle_configuration, "NoSuchLifecycleConfiguration"),
                       (w.main.get_public_access_block, "NoSuchPublicAccessBlockConfiguration"),
                       (w.main.get_bucket_ownership_controls, "OwnershipControlsNotFoundError"),
                       (w.main.get_object_lock_configuration,
                        "ObjectLockConfigurationNotFoundError")):
        refused(404, code, call, Bucket=name)
        refused(404, "NoSuchBucket", call, Bucket="none-such-bucket")
        refused(403, "AccessDenied", w.alt.get_bucket_policy, Bucket=name)
    for call in (w.main.delete_bucket_website, w.main.delete_bucket_replication):
        assert status_of(call(Bucket=name)) == 204
    assert "LoggingEnabled" not in w.main.get_bucket_logging(Bucket=name)
    assert "Status" not in w.main.get_bucket_accelerate_configuration(Bucket=name)
    assert w.main.get_bucket_request_payment(Bucket=name)["Payer"] == "BucketOwner"
    w.main.put_bucket_logging(Bucket=name, BucketLoggingStatus={})
    refused(501, "NotImplemented", w.main.put_bucket_request_payment, Bucket=name,
            RequestPaymentConfiguration={"Payer": "Requester"})


# Lists.


@case
def list_v1_corners(w):
    name = w.filled(["bar", "baz", "foo", "quxx"])
    page = w.main.list_objects(Bucket=name, Marker="")
    assert page["Marker"] == "" and not page["IsTruncated"] and page["MaxKeys"] == 1000
    assert w.main.list_objects(Bucket=name, Marker="\x0a")["Marker"] == "\x0a"
    page = w.main.list_objects(Bucket=name, Marker="blah")
    assert page["Marker"] == "blah" and keys(page) == ["foo", "quxx"]
    assert keys(w.main.list_objects(Bucket=name, Marker="zzz")) == []
    assert keys(w.main.list_objects(Bucket=name, Marker="aaa")) == ["bar", "baz", "foo", "quxx"]
    page = w.main.list_objects(Bucket=name, MaxKeys=1)
    assert page["IsTruncated"] and keys(page) == ["bar"] and page["MaxKeys"] == 1
    page = w.main.list_objects(Bucket=name, MaxKeys=0)
    assert not page["IsTruncated"] and keys(page) == [] and page["MaxKeys"] == 0
    for bad in ("blah", "-1", "2147483648", "1.5"):
        got = signed(w, "GET", f"/{name}", query={"max-keys": bad})
        assert got.status == 400 and b"InvalidArgument" in got.text, bad
    page = w.main.list_objects(Bucket=name, Delimiter="", Prefix="")
    assert "Delimiter" not in page and page["Prefix"] == "" and len(keys(page)) == 4
    assert w.main.list_objects(Bucket=name, MaxKeys=5000)["MaxKeys"] in (1000, 5000)
    owner = page["Contents"][0]["Owner"]
    assert owner == {"ID": "main", "DisplayName": "main of tests"}


@case
def list_v2_corners(w):
    name = w.filled(["bar", "baz", "foo", "quxx"])
    page = w.main.list_objects_v2(Bucket=name, ContinuationToken="")
    assert page["ContinuationToken"] == "" and not page["IsTruncated"]
    first = w.main.list_objects_v2(Bucket=name, StartAfter="bar", MaxKeys=1)
    assert keys(first) == ["baz"] and first["StartAfter"] == "bar" and first["IsTruncated"]
    page = w.main.list_objects_v2(Bucket=name, StartAfter="bar",
                                  ContinuationToken=first["NextContinuationToken"])
    assert keys(page) == ["foo", "quxx"] and page["StartAfter"] == "bar"
    assert page["ContinuationToken"] == first["NextContinuationToken"] and page["KeyCount"] == 2
    assert w.main.list_objects_v2(Bucket=name, StartAfter="\x0a")["StartAfter"] == "\x0a"
    assert keys(w.main.list_objects_v2(Bucket=name, StartAfter="dddd")) == ["foo", "quxx"]
    assert keys(w.main.list_objects_v2(Bucket=name, StartAfter="zzz")) == []
    for fetch in ("", "false"):
        got = signed(w, "GET", f"/{name}", query={"list-type": "2", "fetch-owner": fetch})
        assert got.status == 200 and b"<Owner>" not in got.text
    got = signed(w, "GET", f"/{name}", query={"list-type": "2", "continuation-token": "\x01?"})
    assert got.status == 400 and b"InvalidArgument" in got.text
    got = signed(w, "GET", f"/{name}", query={"encoding-type": "xml"})
    assert got.status == 400 and b"InvalidArgument" in got.text


@case
def list_delimiters(w):
    name = w.filled(["b/a/c", "b/a/g", "b/a/r", "g", "cab", "bar", "b%z", "b z", "b\nz", "b_z", "b.z",
                     "a--b--c", "a--d", "\u00e4/\u00f6/x"])
    for delimiter, wanted in (("a", {"b/a", "ba", "ca", "a"}), ("%", {"b%"}), (" ", {"b "}),
                              ("\x0a", {"b\n"}), ("_", {"b_"}), (".", {"b."}), ("--", {"a--"}),
                              ("/", {"b/", "\u00e4/"}), ("zz", set()),
                              ("\u00f6", {"\u00e4/\u00f6"})):
        for call in (w.main.list_objects, w.main.list_objects_v2, w.main.list_object_versions):
            page = call(Bucket=name, Delimiter=delimiter)
            assert set(prefixes(page)) == wanted, (delimiter, prefixes(page))
            assert page["Delimiter"] == delimiter
    page = w.main.list_objects(Bucket=name, Prefix="a--", Delimiter="--")
    assert keys(page) == ["a--d"] and prefixes(page) == ["a--b--"]
    page = w.main.list_objects(Bucket=name, Prefix="/", Delimiter="/")
    assert keys(page) == [] and prefixes(page) == []
    page = w.main.list_objects_v2(Bucket=name, Prefix="\x0a", Delimiter="/")
    assert page["Prefix"] == "\x0a" and page["KeyCount"] == 0
    # A page that ends in a common prefix goes on behind all of it.
    marker, seen = "", []
    while True:
        page = w.main.list_objects(Bucket=name, Delimiter="/", Prefix="b", Marker=marker, MaxKeys=1)
        seen += keys(page) + prefixes(page)
        if not page["IsTruncated"]:
            break
        marker = page["NextMarker"]
    assert len(seen) == len(set(seen)) == 7, seen


@case
def lists_as_urls(w):
    names = ["a b", "a+b", "a%b", "a&b", "\u00e4", "a/b", "~", "*", "x\x01y"]
    name = w.filled(names)
    for path in ("", "versions"):
        query = {"encoding-type": "url", **({path: ""} if path else {"prefix": ""})}
        got = signed(w, "GET", f"/{name}", query=query)
        assert got.status == 200 and b"<EncodingType>url</EncodingType>" in got.text
        for key in names:
            text = urllib.parse.quote(key.encode(), safe="/-_.~*").encode()
            alternative = urllib.parse.quote(key.encode(), safe="/-_.~").encode()
            assert b"<Key>" + text + b"</Key>" in got.text or \
                b"<Key>" + alternative + b"</Key>" in got.text, (key, got.text)
    for key in ("a b", "a+b"):
        w.main.create_multipart_upload(Bucket=name, Key=key)
    page = w.main.list_multipart_uploads(Bucket=name, EncodingType="url", Prefix="a ")
    assert [u["Key"] for u in page["Uploads"]] == ["a%20b"], page["Uploads"]
    got = signed(w, "GET", f"/{name}", query={"uploads": "", "encoding-type": "other"})
    assert got.status == 400 and b"InvalidArgument" in got.text


@case
def lists_without_order(w):
    name = w.filled(["ado", "bot", "cob", "dog", "emu", "a/b"])
    for kind in ({}, {"list-type": "2"}):
        got = signed(w, "GET", f"/{name}", query={"allow-unordered": "true", **kind})
        assert got.status == 200 and got.text.count(b"<Key>") == 6
        got = signed(w, "GET", f"/{name}",
                     query={"allow-unordered": "true", "delimiter": "/", **kind})
        assert got.status == 400 and b"InvalidArgument" in got.text


@case
def list_says_what_head_says(w):
    name = w.filled(["bar", "baz"])
    for call in (w.main.list_objects, w.main.list_objects_v2):
        for entry in call(Bucket=name)["Contents"]:
            head = w.main.head_object(Bucket=name, Key=entry["Key"])
            assert entry["ETag"] == head["ETag"] and entry["Size"] == head["ContentLength"]
            assert entry["StorageClass"] == "STANDARD"
            assert entry["LastModified"].replace(microsecond=0) == head["LastModified"]
    w.main.put_bucket_versioning(Bucket=name, VersioningConfiguration={"Status": "Enabled"})
    made = w.main.put_object(Bucket=name, Key="bar", Body=b"new")
    entry = w.main.list_object_versions(Bucket=name, Prefix="bar")["Versions"][0]
    assert entry["VersionId"] == made["VersionId"] and entry["IsLatest"]
    acl = w.main.get_object_acl(Bucket=name, Key="bar", VersionId=made["VersionId"])
    assert entry["Owner"] == acl["Owner"]


@case
def uploads_in_pages(w):
    name = w.bucket()
    made = [(key, w.main.create_multipart_upload(Bucket=name, Key=key)["UploadId"])
            for key in ("a", "a", "b/1", "b/2", "c")]
    seen, more = [], {}
    while True:
        page = w.main.list_multipart_uploads(Bucket=name, MaxUploads=1, **more)
        assert page["MaxUploads"] == 1
        seen += [(u["Key"], u["UploadId"]) for u in page["Uploads"]]
        if not page["IsTruncated"]:
            break
        more = {"KeyMarker": page["NextKeyMarker"], "UploadIdMarker": page["NextUploadIdMarker"]}
    assert sorted(seen) == sorted(made) and [k for k, _ in seen] == sorted(k for k, _ in made)
    page = w.main.list_multipart_uploads(Bucket=name, Delimiter="/")
    assert prefixes(page) == ["b/"] and page["Delimiter"] == "/"
    assert page["Uploads"][0]["Initiator"] == {"ID": "main", "DisplayName": "main of tests"}
    assert page["Uploads"][0]["Owner"]["ID"] == "main"
    assert [u["Key"] for u in w.main.list_multipart_uploads(Bucket=name, KeyMarker="b/1")[
        "Uploads"]] == ["b/2", "c"]
    for key, upload in made:
        w.main.abort_multipart_upload(Bucket=name, Key=key, UploadId=upload)


# Objects.


@case
def special_names(w):
    names = [" ", '"', "$", "%", "&", "'", "<", ">", "_", "_ ", "_ _", "__", "\u65e5\u672c", "a\tb",
             "a?b", "a#b", "a;b", "a=b", "a@b", "a:b", "a\\b", "..", ".", "/lead", "a//", "foo\n"]
    name = w.bucket()
    for key in names:
        w.main.put_object(Bucket=name, Key=key, Body=key)
        w.main.put_object_acl(Bucket=name, Key=key, ACL="private")
        w.main.copy_object(Bucket=name, Key="copy of " + key, CopySource={"Bucket": name, "Key": key})
        assert w.main.get_object(Bucket=name, Key="copy of " + key)["Body"].read() == key.encode()
    assert keys(w.main.list_objects_v2(Bucket=name)) == sorted(
        names + ["copy of " + k for k in names], key=str.encode)
    answer = w.main.delete_objects(Bucket=name, Delete={"Objects": [{"Key": k} for k in names]})
    assert {d["Key"] for d in answer["Deleted"]} == set(names)
    got = signed(w, "GET", f"/{name}/%AE%8A-")
    assert got.status == 400 and b"<Code>InvalidURI</Code>" in got.text, got.text


@case
def lengths_and_digests(w):
    name = w.bucket()
    for headers, status, code in (
            ({"content-md5": "YWJyYWNhZGFicmE="}, 400, b"InvalidDigest"),
            ({"content-md5": ""}, 400, b"InvalidDigest"),
            ({"content-md5": "rL0Y20zC+Fzt72VPzMSk2A=="}, 400, b"BadDigest"),
            ({"x-amz-checksum-crc32": "AAAA"}, 400, b"InvalidRequest"),
            ({"x-amz-checksum-crc32": "AAAAAA=="}, 400, b"BadDigest"),
            ({"x-amz-sdk-checksum-algorithm": "MD4"}, 400, b"InvalidRequest"),
            ({"x-amz-content-sha256": "0" * 64}, 400, b"XAmzContentSHA256Mismatch"),
            ({"expect": "200-ok"}, 200, b""), ({"content-type": ""}, 200, b"")):
        got = signed(w, "PUT", f"/{name}/k", b"bar", headers=headers)
        assert got.status == status and code in got.text, (headers, got.status, got.text)
    for kind, value in (("crc32", zlib.crc32(b"bar").to_bytes(4, "big")),
                        ("sha256", hashlib.sha256(b"bar").digest())):
        two = {"x-amz-checksum-" + kind: base64.b64encode(value).decode(),
               "x-amz-checksum-sha1": base64.b64encode(hashlib.sha1(b"bar").digest()).decode()}
        got = signed(w, "PUT", f"/{name}/k", b"bar", headers=two)
        assert got.status == 400 and b"InvalidRequest" in got.text, got.text


@case
def content_encodings(w):
    name = w.bucket()
    for said, kept in (("gzip", "gzip"), ("deflate, gzip", "deflate, gzip"), ("aws-chunked", None),
                       ("aws-chunked, gzip", "gzip"), ("gzip,aws-chunked", "gzip"),
                       ("aws-chunked,aws-chunked", None)):
        w.main.put_object(Bucket=name, Key="k", Body=b"x", ContentEncoding=said)
        assert w.main.head_object(Bucket=name, Key="k").get("ContentEncoding") == kept, said


@case
def metadata_is_replaced(w):
    name = w.bucket()
    w.main.put_object(Bucket=name, Key="k", Body=b"", Metadata={"m": "x"}, CacheControl="a",
                      Expires=datetime.datetime(2033, 1, 1))
    got = w.main.get_object(Bucket=name, Key="k")
    assert got["Metadata"] == {"m": "x"} and got["CacheControl"] == "a"
    assert got["ResponseMetadata"]["HTTPHeaders"]["expires"] == "Sat, 01 Jan 2033 00:00:00 GMT"
    w.main.put_object(Bucket=name, Key="k", Body=b"", Metadata={"m": ""})
    got = w.main.get_object(Bucket=name, Key="k")
    assert got["Metadata"] == {"m": ""} and "CacheControl" not in got


@case
def writes_if(w):
    name = w.filled(["k"])
    etag = w.main.head_object(Bucket=name, Key="k")["ETag"]
    put = w.main.put_object
    put(Bucket=name, Key="k", Body=b"2", IfNoneMatch='"other"')
    put(Bucket=name, Key="new", Body=b"2", IfNoneMatch=etag)
    etag = w.main.head_object(Bucket=name, Key="k")["ETag"]
    refused(412, "PreconditionFailed", put, Bucket=name, Key="k", Body=b"3", IfNoneMatch=etag)
    refused(412, "PreconditionFailed", put, Bucket=name, Key="k", Body=b"3", IfNoneMatch="*")
    refused(412, "PreconditionFailed", put, Bucket=name, Key="none", Body=b"3", IfMatch="*")
    put(Bucket=name, Key="k", Body=b"3", IfMatch="*")
    refused(404, "NoSuchKey", w.main.get_object, Bucket=name, Key="none")
    etag = w.main.head_object(Bucket=name, Key="k")["ETag"]
    upload, parts = upload_parts(w.main, name, "k", [b"x"])
    complete = w.main.complete_multipart_upload
    refused(412, "PreconditionFailed", complete, Bucket=name, Key="k", UploadId=upload,
            MultipartUpload={"Parts": parts}, IfMatch='"other"')
    refused(412, "PreconditionFailed", complete, Bucket=name, Key="k", UploadId=upload,
            MultipartUpload={"Parts": parts}, IfNoneMatch="*")
    complete(Bucket=name, Key="k", UploadId=upload, MultipartUpload={"Parts": parts}, IfMatch=etag)
    refused(412, "PreconditionFailed", w.main.delete_object, Bucket=name, Key="k", IfMatch=etag)
    refused(412, "PreconditionFailed", w.main.delete_object, Bucket=name, Key="k", IfMatchSize=77)
    refused(412, "PreconditionFailed", w.main.delete_object, Bucket=name, Key="k",
            IfMatchLastModifiedTime=datetime.datetime(2001, 1, 1))
    answer = w.main.delete_objects(Bucket=name, Delete={"Objects": [
        {"Key": "k", "ETag": etag}, {"Key": "new", "Size": 9}]})
    assert {e["Code"] for e in answer["Errors"]} == {"PreconditionFailed"}, answer
    head = w.main.head_object(Bucket=name, Key="k")
    w.main.delete_object(Bucket=name, Key="k", IfMatchSize=1, IfMatch=head["ETag"],
                         IfMatchLastModifiedTime=head["LastModified"])
    w.main.put_object(Bucket=name, Key="hidden", Body=b"12345", ServerSideEncryption="AES256")
    refused(412, "PreconditionFailed", w.main.delete_object, Bucket=name, Key="hidden", IfMatchSize=21)
    w.main.delete_object(Bucket=name, Key="hidden", IfMatchSize=5)


@case
def deletes_of_many(w):
    name = w.bucket()
    for body, code in ((b"<Delete></Delete>", b"MalformedXML"), (b"", b"MalformedXML"),
                       (b"<Delete><Object></Object></Delete>", b"MalformedXML"),
                       (b"<Other/>", b"MalformedXML")):
        md5 = base64.b64encode(hashlib.md5(body).digest()).decode()
        got = signed(w, "POST", f"/{name}", body, query={"delete": ""}, headers={"content-md5": md5})
        assert got.status == 400 and code in got.text, (body, got.text)
    got = signed(w, "POST", f"/{name}", b"<Delete/>", query={"delete": ""})
    assert got.status == 400 and b"InvalidRequest" in got.text
    w.main.put_bucket_versioning(Bucket=name, VersioningConfiguration={"Status": "Enabled"})
    version = w.main.put_object(Bucket=name, Key="k", Body=b"")["VersionId"]
    answer = w.main.delete_objects(Bucket=name, Delete={"Objects": [{"Key": "k"}]})
    marker = answer["Deleted"][0]["DeleteMarkerVersionId"]
    assert answer["Deleted"][0]["DeleteMarker"] and "VersionId" not in answer["Deleted"][0]
    answer = w.main.delete_objects(Bucket=name, Delete={"Objects": [
        {"Key": "k", "VersionId": marker}, {"Key": "k", "VersionId": version},
        {"Key": "k", "VersionId": version}]})
    assert "Errors" not in answer and len(answer["Deleted"]) == 3
    gone = {d["VersionId"]: d for d in answer["Deleted"]}
    assert gone[marker]["DeleteMarker"] and gone[marker]["DeleteMarkerVersionId"] == marker
    assert "DeleteMarker" not in gone[version]


@case
def ranges_of_all_forms(w):
    name, body = w.bucket(), b"testcontent"
    w.main.put_object(Bucket=name, Key="k", Body=body)
    for text, wanted in (("bytes=4-7", body[4:8]), ("bytes=4-", body[4:]), ("bytes=-7", body[-7:]),
                         ("bytes=0-0", body[:1]), ("bytes=10-10", body[10:]),
                         ("bytes=-100", body), ("bytes=5-400", body[5:])):
        got = w.main.get_object(Bucket=name, Key="k", Range=text)
        assert status_of(got) == 206 and got["Body"].read() == wanted, text
        head = w.main.head_object(Bucket=name, Key="k", Range=text)
        assert head["ContentLength"] == len(wanted)
    for text in ("bytes=40-50", "bytes=11-", "bytes=-0"):
        answer = refused(416, "InvalidRange", w.main.get_object, Bucket=name, Key="k", Range=text)
        assert answer["Error"]["ActualObjectSize"] == "11" and answer["Error"]["RangeRequested"] == text
    for text in ("bytes=7-4", "bytes", "bytes=", "bytes=a-b", "items=1-2"):
        got = w.main.get_object(Bucket=name, Key="k", Range=text)
        assert status_of(got) == 200 and got["Body"].read() == body, text


# Versions.


@case
def null_versions(w):
    name = w.bucket()
    set_ = lambda status: w.main.put_bucket_versioning(  # noqa: E731
        Bucket=name, VersioningConfiguration={"Status": status})
    w.main.put_object(Bucket=name, Key="k", Body=b"0")
    set_("Enabled")
    w.main.delete_object(Bucket=name, Key="k", VersionId="null")
    refused(404, "NoSuchKey", w.main.get_object, Bucket=name, Key="k")
    assert "Versions" not in w.main.list_object_versions(Bucket=name)
    ids = [w.main.put_object(Bucket=name, Key="k", Body=b"v")["VersionId"] for _ in range(3)]
    set_("Suspended")
    answer = w.main.delete_object(Bucket=name, Key="k")
    assert answer["DeleteMarker"] and answer["VersionId"] == "null"
    w.main.delete_object(Bucket=name, Key="k")
    page = w.main.list_object_versions(Bucket=name)
    assert len(page["DeleteMarkers"]) == 1 and len(page["Versions"]) == 3
    assert w.main.put_object(Bucket=name, Key="k", Body=b"null")["VersionId"] == "null"
    page = w.main.list_object_versions(Bucket=name)
    assert "DeleteMarkers" not in page and len(page["Versions"]) == 4
    copied = w.main.copy_object(Bucket=name, Key="k2", CopySource={
        "Bucket": name, "Key": "k", "VersionId": ids[0]})
    assert copied["CopySourceVersionId"] == ids[0]
    set_("Enabled")
    for version in ids + ["null"]:
        w.main.delete_object(Bucket=name, Key="k", VersionId=version)
    refused(404, "NoSuchKey", w.main.get_object, Bucket=name, Key="k")
    for bad in ("", "Off", "enabled"):
        got = signed(w, "PUT", f"/{name}", (
            f"<VersioningConfiguration><Status>{bad}</Status></VersioningConfiguration>").encode(),
            query={"versioning": ""})
        assert got.status == 400, (bad, got.text)


@case
def versions_at_once(w):
    name = w.bucket()
    w.main.put_bucket_versioning(Bucket=name, VersioningConfiguration={"Status": "Enabled"})
    clients = [w.client("main") for _ in range(5)]

    def go(work):
        threads = [threading.Thread(target=work, args=(c, i)) for i, c in enumerate(clients)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    for _ in range(3):
        go(lambda c, i: c.put_object(Bucket=name, Key="k", Body=f"data {i}"))
        listed = w.main.list_object_versions(Bucket=name)["Versions"]
        assert len(listed) == 5 and sum(v["IsLatest"] for v in listed) == 1
        go(lambda c, i: c.delete_object(Bucket=name, Key="k", VersionId=listed[i]["VersionId"]))
        assert "Versions" not in w.main.list_object_versions(Bucket=name)


@case
def version_markers(w):
    name = w.bucket()
    w.main.put_bucket_versioning(Bucket=name, VersioningConfiguration={"Status": "Enabled"})
    ids = {k: [w.main.put_object(Bucket=name, Key=k, Body=b"")["VersionId"] for _ in range(2)]
           for k in ("a", "b", "c/1", "c/2")}
    page = w.main.list_object_versions(Bucket=name, KeyMarker="a")
    assert page["KeyMarker"] == "a" and [v["Key"] for v in page["Versions"]][:2] == ["b", "b"]
    page = w.main.list_object_versions(Bucket=name, KeyMarker="a", VersionIdMarker=ids["a"][1])
    assert page["Versions"][0]["VersionId"] == ids["a"][0]
    page = w.main.list_object_versions(Bucket=name, Delimiter="/")
    assert prefixes(page) == ["c/"] and len(page["Versions"]) == 4
    page = w.main.list_object_versions(Bucket=name, Prefix="b")
    assert [v["VersionId"] for v in page["Versions"]] == ids["b"][::-1]
    page = w.main.list_object_versions(Bucket=name, MaxKeys=0)
    assert "Versions" not in page and not page["IsTruncated"]
    got = signed(w, "GET", f"/{name}", query={"versions": "", "version-id-marker": ids["a"][0]})
    assert got.status == 400 and b"InvalidArgument" in got.text


# Copies.


@case
def copies_of_all_kinds(w):
    name = w.filled(["k", "a b+c%d/\u00e4?e"])
    w.main.copy_object(Bucket=name, Key="n", CopySource={"Bucket": name, "Key": "a b+c%d/\u00e4?e"})
    copy = w.main.copy_object
    for source, status, code in ((name, 400, "InvalidArgument"), (f"{name}/", 400, "InvalidArgument"),
                                 (f"/{name}/k", 200, None), (f"{name}/%zz", 400, "InvalidArgument"),
                                 (f"{name}/k?versionId=junk", 400, "InvalidArgument")):
        if status == 200:
            copy(Bucket=name, Key="x", CopySource=source)
        else:
            got = signed(w, "PUT", f"/{name}/x", headers={"x-amz-copy-source": source})
            assert got.status == status and code.encode() in got.text, (source, got.text)
    etag = w.main.head_object(Bucket=name, Key="k")["ETag"]
    past, future = datetime.datetime(2001, 1, 1), datetime.datetime(2100, 1, 1)
    for good, condition in ((True, {"CopySourceIfMatch": etag}), (False, {"CopySourceIfMatch": '"x"'}),
                            (True, {"CopySourceIfNoneMatch": '"x"'}),
                            (False, {"CopySourceIfNoneMatch": etag}),
                            (True, {"CopySourceIfModifiedSince": past}),
                            (False, {"CopySourceIfUnmodifiedSince": past}),
                            (True, {"CopySourceIfUnmodifiedSince": future}),
                            (True, {"CopySourceIfMatch": etag, "CopySourceIfUnmodifiedSince": past}),
                            (False, {"CopySourceIfNoneMatch": etag,
                                     "CopySourceIfModifiedSince": past})):
        if good:
            copy(Bucket=name, Key="c", CopySource=f"{name}/k", **condition)
        else:
            refused(412, "PreconditionFailed", copy, Bucket=name, Key="c", CopySource=f"{name}/k",
                    **condition)
    refused(400, "InvalidRequest", copy, Bucket=name, Key="k", CopySource=f"{name}/k")
    for change in ({"StorageClass": "STANDARD_IA"}, {"WebsiteRedirectLocation": "/x"},
                   {"MetadataDirective": "REPLACE"}, {"ServerSideEncryption": "AES256"}):
        copy(Bucket=name, Key="k", CopySource=f"{name}/k", **change)
    head = w.main.head_object(Bucket=name, Key="k")
    assert head["ServerSideEncryption"] == "AES256"
    w.main.put_object(Bucket=name, Key="acl", Body=b"", ACL="public-read")
    copy(Bucket=name, Key="acl2", CopySource=f"{name}/acl")
    assert len(w.main.get_object_acl(Bucket=name, Key="acl2")["Grants"]) == 1
    copy(Bucket=name, Key="acl3", CopySource=f"{name}/acl", ACL="public-read")
    assert len(w.main.get_object_acl(Bucket=name, Key="acl3")["Grants"]) == 2
    for directive in ("MetadataDirective", "TaggingDirective"):
        got = signed(w, "PUT", f"/{name}/x", headers={
            "x-amz-copy-source": f"{name}/k",
            "x-amz-" + directive.replace("Directive", "-directive").lower(): "OTHER"})
        assert got.status == 400 and b"InvalidArgument" in got.text
    w.main.put_object(Bucket=name, Key="zero", Body=b"")
    copy(Bucket=name, Key="zero2", CopySource=f"{name}/zero")
    assert w.main.get_object(Bucket=name, Key="zero2")["ContentLength"] == 0


@case
def copies_with_checksums(w):
    name = w.bucket()
    w.main.put_object(Bucket=name, Key="k", Body=b"abc", ChecksumAlgorithm="SHA256")
    answer = w.main.copy_object(Bucket=name, Key="c", CopySource=f"{name}/k")
    want = base64.b64encode(hashlib.sha256(b"abc").digest()).decode()
    assert answer["CopyObjectResult"]["ChecksumSHA256"] == want
    answer = w.main.copy_object(Bucket=name, Key="c", CopySource=f"{name}/k",
                                ChecksumAlgorithm="SHA1")
    assert answer["CopyObjectResult"]["ChecksumSHA1"] == \
        base64.b64encode(hashlib.sha1(b"abc").digest()).decode()
    head = w.main.head_object(Bucket=name, Key="c", ChecksumMode="ENABLED")
    assert "ChecksumSHA256" not in head and head["ChecksumSHA1"]


# Multipart uploads.


@case
def parts_of_uploads(w):
    name = w.bucket()
    upload, parts = upload_parts(w.main, name, "k", [payload(5 * MIB, 1), b"old"])
    parts[1]["ETag"] = w.main.upload_part(Bucket=name, Key="k", UploadId=upload, PartNumber=2,
                                          Body=b"new")["ETag"]
    listed = w.main.list_parts(Bucket=name, Key="k", UploadId=upload)
    assert [p["Size"] for p in listed["Parts"]] == [5 * MIB, 3] and listed["MaxParts"] == 1000
    assert listed["Initiator"]["ID"] == "main" and listed["StorageClass"] == "STANDARD"
    page = w.main.list_parts(Bucket=name, Key="k", UploadId=upload, MaxParts=1)
    assert page["NextPartNumberMarker"] == 1 and page["IsTruncated"]
    assert page["PartNumberMarker"] == 0
    for query in ({"max-parts": "x"}, {"part-number-marker": "x"}, {"max-parts": "-1"}):
        got = signed(w, "GET", f"/{name}/k", query={"uploadId": upload, **query})
        assert got.status == 400 and b"InvalidArgument" in got.text, query
    for number in ("0", "10001", "x", "-1"):
        got = signed(w, "PUT", f"/{name}/k", b"x", query={"uploadId": upload, "partNumber": number})
        assert got.status == 400 and b"InvalidArgument" in got.text, number
    refused(404, "NoSuchUpload", w.main.upload_part, Bucket=name, Key="other", UploadId=upload,
            PartNumber=1, Body=b"")
    stale = [parts[0], {"PartNumber": 2, "ETag": hashlib.md5(b"old").hexdigest()}]
    refused(400, "InvalidPart", w.main.complete_multipart_upload, Bucket=name, Key="k",
            UploadId=upload, MultipartUpload={"Parts": stale})
    w.main.complete_multipart_upload(Bucket=name, Key="k", UploadId=upload, MultipartUpload={
        "Parts": [{"PartNumber": p["PartNumber"], "ETag": p["ETag"].strip('"')} for p in parts]})
    got = w.main.get_object(Bucket=name, Key="k", PartNumber=2)
    assert got["Body"].read() == b"new" and got["PartsCount"] == 2
    assert got["ContentRange"] == f"bytes {5 * MIB}-{5 * MIB + 2}/{5 * MIB + 3}"
    head = w.main.head_object(Bucket=name, Key="k", PartNumber=1)
    assert head["ContentLength"] == 5 * MIB and status_of(head) == 206
    w.main.put_object(Bucket=name, Key="plain", Body=b"body")
    got = w.main.get_object(Bucket=name, Key="plain", PartNumber=1)
    assert got["Body"].read() == b"body" and "PartsCount" not in got
    refused(400, "InvalidPart", w.main.get_object, Bucket=name, Key="plain", PartNumber=2)
    got = signed(w, "GET", f"/{name}/k", query={"partNumber": "1"}, headers={"range": "bytes=0-1"})
    assert got.status == 400 and b"InvalidRequest" in got.text, got.status


@case
def parts_skipped(w):
    name = w.bucket()
    upload, parts = upload_parts(w.main, name, "k", [payload(5 * MIB, i) for i in range(3)])
    w.main.complete_multipart_upload(Bucket=name, Key="k", UploadId=upload,
                                     MultipartUpload={"Parts": [parts[0], parts[2]]})
    got = w.main.get_object(Bucket=name, Key="k")
    assert got["Body"].read() == payload(5 * MIB, 0) + payload(5 * MIB, 2)
    got = w.main.get_object(Bucket=name, Key="k", PartNumber=3)
    assert got["PartsCount"] == 2


@case
def part_copies_refused(w):
    name = w.filled(["k"])
    upload = w.main.create_multipart_upload(Bucket=name, Key="m")["UploadId"]
    copy = lambda **more: w.main.upload_part_copy(  # noqa: E731
        Bucket=name, Key="m", UploadId=upload, PartNumber=1, **more)
    refused(404, "NoSuchKey", copy, CopySource=f"{name}/none")
    refused(404, "NoSuchBucket", copy, CopySource="none-such-bucket/none")
    refused(416, "InvalidRange", copy, CopySource=f"{name}/k", CopySourceRange="bytes=0-21")
    refused(412, "PreconditionFailed", copy, CopySource=f"{name}/k", CopySourceIfMatch='"x"')
    for text in ("0-2", "bytes=0", "bytes=hello-world", "bytes=0-bar", "bytes=hello-", "bytes=0-2,3-5",
                 "bytes=2-1", "bytes=-1"):
        refused(400, "InvalidArgument", copy, CopySource=f"{name}/k", CopySourceRange=text)
    w.main.put_bucket_versioning(Bucket=name, VersioningConfiguration={"Status": "Enabled"})
    version = w.main.put_object(Bucket=name, Key="k", Body=b"second")["VersionId"]
    answer = copy(CopySource={"Bucket": name, "Key": "k", "VersionId": version})
    assert answer["CopySourceVersionId"] == version


@case
def checksums_of_uploads(w):
    name, bodies = w.bucket(), [payload(5 * MIB, 4), payload(100, 5)]
    create = w.main.create_multipart_upload
    refused(400, "InvalidRequest", create, Bucket=name, Key="k", ChecksumAlgorithm="SHA256",
            ChecksumType="FULL_OBJECT")
    got = signed(w, "POST", f"/{name}/k", query={"uploads": ""}, headers={
        "x-amz-checksum-algorithm": "MD4"})
    assert got.status == 400 and b"InvalidRequest" in got.text
    upload = create(Bucket=name, Key="k", ChecksumAlgorithm="SHA256")["UploadId"]
    parts = []
    for number, body in enumerate(bodies, 1):
        value = base64.b64encode(hashlib.sha256(body).digest()).decode()
        answer = w.main.upload_part(Bucket=name, Key="k", UploadId=upload, PartNumber=number,
                                    Body=body, ChecksumSHA256=value)
        assert answer["ChecksumSHA256"] == value
        parts.append({"PartNumber": number, "ETag": answer["ETag"], "ChecksumSHA256": value})
    refused(400, "BadDigest", w.main.upload_part, Bucket=name, Key="k", UploadId=upload, PartNumber=3,
            Body=b"x", ChecksumSHA256=base64.b64encode(bytes(32)).decode())
    listed = w.main.list_parts(Bucket=name, Key="k", UploadId=upload)
    assert [p["ChecksumSHA256"] for p in listed["Parts"]] == [p["ChecksumSHA256"] for p in parts]
    assert listed["ChecksumAlgorithm"] == "SHA256" and listed["ChecksumType"] == "COMPOSITE"
    wrong = [dict(p, ChecksumSHA256=base64.b64encode(bytes(32)).decode()) for p in parts]
    refused(400, "InvalidPart", w.main.complete_multipart_upload, Bucket=name, Key="k",
            UploadId=upload, MultipartUpload={"Parts": wrong})
    refused(400, "BadDigest", w.main.complete_multipart_upload, Bucket=name, Key="k",
            UploadId=upload, MultipartUpload={"Parts": parts},
            ChecksumSHA256=base64.b64encode(bytes(32)).decode() + "-2")
    done = w.main.complete_multipart_upload(Bucket=name, Key="k", UploadId=upload,
                                            MultipartUpload={"Parts": parts})
    assert done["ChecksumType"] == "COMPOSITE" and done["ChecksumSHA256"].endswith("-2")
    found = w.main.get_object_attributes(Bucket=name, Key="k", ObjectAttributes=[
        "Checksum", "ObjectParts"])
    assert found["Checksum"]["ChecksumSHA256"] == done["ChecksumSHA256"].split("-")[0]
    assert found["Checksum"]["ChecksumType"] == "COMPOSITE"
    told = found["ObjectParts"]
    assert told["TotalPartsCount"] == 2 and not told["IsTruncated"]
    assert [p["ChecksumSHA256"] for p in told["Parts"]] == [p["ChecksumSHA256"] for p in parts]
    page = w.main.get_object_attributes(Bucket=name, Key="k", ObjectAttributes=["ObjectParts"],
                                        MaxParts=1)["ObjectParts"]
    assert page["IsTruncated"] and page["NextPartNumberMarker"] == 1 and len(page["Parts"]) == 1
    page = w.main.get_object_attributes(Bucket=name, Key="k", ObjectAttributes=["ObjectParts"],
                                        MaxParts=5, PartNumberMarker=1)["ObjectParts"]
    assert [p["PartNumber"] for p in page["Parts"]] == [2] and page["MaxParts"] == 5
    got = w.main.get_object(Bucket=name, Key="k", PartNumber=1, ChecksumMode="ENABLED")
    assert got["ChecksumSHA256"] == parts[0]["ChecksumSHA256"]


@case
def attributes_of_objects(w):
    name = w.filled(["k"])
    found = w.main.get_object_attributes(Bucket=name, Key="k", ObjectAttributes=[
        "ETag", "Checksum", "ObjectParts", "StorageClass", "ObjectSize"])
    assert found["ETag"] == w.main.head_object(Bucket=name, Key="k")["ETag"].strip('"')
    assert found["ObjectSize"] == 1 and "ObjectParts" not in found
    refused(404, "NoSuchKey", w.main.get_object_attributes, Bucket=name, Key="none",
            ObjectAttributes=["ETag"])
    got = signed(w, "GET", f"/{name}/k", query={"attributes": ""}, headers={
        "x-amz-object-attributes": "Colour"})
    assert got.status == 400 and b"InvalidArgument" in got.text
    got = signed(w, "GET", f"/{name}/k", query={"attributes": ""})
    assert got.status == 400 and b"InvalidArgument" in got.text


# Who may.


def grants(answer):
    return sorted((g["Grantee"].get("ID") or g["Grantee"]["URI"], g["Permission"])
                  for g in answer["Grants"])


@case
def canned_lists(w):
    own = ("main", "FULL_CONTROL")
    for acl, more in (("private", []), ("public-read", [(EVERYBODY, "READ")]),
                      ("public-read-write", [(EVERYBODY, "READ"), (EVERYBODY, "WRITE")]),
                      ("authenticated-read", [(WITH_KEY, "READ")])):
        name = w.bucket(ACL=acl)
        assert grants(w.main.get_bucket_acl(Bucket=name)) == sorted([own] + more), acl
        w.main.put_bucket_acl(Bucket=name, ACL="private")
        assert grants(w.main.get_bucket_acl(Bucket=name)) == [own]
        w.main.put_bucket_acl(Bucket=name, ACL=acl)
        w.main.put_object(Bucket=name, Key="k", Body=b"x", ACL=acl)
        assert grants(w.main.get_object_acl(Bucket=name, Key="k")) == sorted([own] + more), acl
        for client, may in ((w.nobody, acl.startswith("public")), (w.alt, acl != "private")):
            for call in (lambda: client.list_objects(Bucket=name),
                         lambda: client.get_object(Bucket=name, Key="k"),
                         lambda: client.head_object(Bucket=name, Key="k")):
                try:
                    call()
                    assert may, (acl, "could")
                except ClientError as error:
                    assert not may and status_of(error.response) == 403, (acl, error)
    name = w.bucket(ACL="log-delivery-write")
    logs = "http://acs.amazonaws.com/groups/s3/LogDelivery"
    assert (logs, "WRITE") in grants(w.main.get_bucket_acl(Bucket=name))
    for bad in ({"x-amz-acl": "public-ready"}, {"x-amz-acl": "private", "x-amz-grant-read": 'id="alt"'}):
        got = signed(w, "PUT", f"/{name}", query={"acl": ""}, headers=bad)
        assert got.status == 400 and b"Invalid" in got.text, got.text


@case
def lists_of_objects_of_others(w):
    name = w.bucket(ACL="public-read-write")
    for acl, wanted in (("bucket-owner-read", "READ"), ("bucket-owner-full-control", "FULL_CONTROL")):
        w.alt.put_object(Bucket=name, Key="k", Body=b"x", ACL=acl)
        assert grants(w.alt.get_object_acl(Bucket=name, Key="k")) == [
            ("alt", "FULL_CONTROL"), ("main", wanted)]
    w.main.put_object_acl(Bucket=name, Key="k", AccessControlPolicy={
        "Owner": {"ID": "alt"}, "Grants": [{"Grantee": {"ID": "main", "Type": "CanonicalUser"},
                                            "Permission": "FULL_CONTROL"}]})
    answer = w.main.get_object_acl(Bucket=name, Key="k")
    assert answer["Owner"]["ID"] == "alt" and grants(answer) == [("main", "FULL_CONTROL")]
    refused(403, "AccessDenied", w.main.put_object_acl, Bucket=name, Key="k", AccessControlPolicy={
        "Owner": {"ID": "main"}, "Grants": []})


@case
def grants_in_headers(w):
    name = w.filled(["k"])
    everything = {f"Grant{p}": 'id="alt"' for p in
                  ("FullControl", "Read", "ReadACP", "Write", "WriteACP")}
    del everything["GrantFullControl"]
    w.main.put_bucket_acl(Bucket=name, **everything)
    assert grants(w.main.get_bucket_acl(Bucket=name)) == sorted(
        ("alt", p) for p in ("READ", "READ_ACP", "WRITE", "WRITE_ACP"))
    w.alt.list_objects(Bucket=name)
    w.alt.put_object(Bucket=name, Key="new", Body=b"")
    w.alt.get_bucket_acl(Bucket=name)
    w.alt.put_bucket_acl(Bucket=name, ACL="public-read-write")
    assert ("main", "FULL_CONTROL") in grants(w.main.get_bucket_acl(Bucket=name))
    w.main.put_object(Bucket=name, Key="k", Body=b"", GrantRead='id="alt", id="main"',
                      GrantWriteACP='emailaddress="alt@example.com"')
    assert grants(w.main.get_object_acl(Bucket=name, Key="k")) == [
        ("alt", "READ"), ("alt", "WRITE_ACP"), ("main", "READ")]
    for header in ('id="none"', "alt", 'uri="http://example.com"', 'colour="red"'):
        got = signed(w, "PUT", f"/{name}/k", headers={"x-amz-grant-read": header})
        assert got.status == 400 and b"InvalidArgument" in got.text, header


@case
def lists_without_grants(w):
    """Who gives a bucket no grant at all may still read and change its list."""
    name = w.filled(["k"])
    old = w.main.get_bucket_acl(Bucket=name)
    w.main.put_bucket_acl(Bucket=name, AccessControlPolicy={"Owner": old["Owner"], "Grants": []})
    assert w.main.get_bucket_acl(Bucket=name)["Grants"] == []
    w.main.get_object(Bucket=name, Key="k")
    refused(403, "AccessDenied", w.main.put_object, Bucket=name, Key="new", Body=b"")
    refused(403, "AccessDenied", w.main.list_objects, Bucket=name)
    w.main.put_bucket_acl(Bucket=name, ACL="private")
    w.main.list_objects(Bucket=name)
    body = b"<AccessControlPolicy><Owner><ID>main</ID></Owner></AccessControlPolicy>"
    got = signed(w, "PUT", f"/{name}", body, query={"acl": ""})
    assert got.status == 400 and b"MalformedACLError" in got.text
    body = body.replace(b"</Owner>", b"</Owner><AccessControlList><Grant><Grantee><ID>alt</ID></Grantee>"
                                     b"<Permission>FLY</Permission></Grant></AccessControlList>")
    got = signed(w, "PUT", f"/{name}", body, query={"acl": ""})
    assert got.status == 400 and b"MalformedACLError" in got.text
    got = signed(w, "PUT", f"/{name}", body, query={"acl": ""}, headers={"x-amz-acl": "private"})
    assert got.status == 400 and b"UnexpectedContent" in got.text


@case
def policies_are_the_owners(w):
    name = w.bucket()
    text = policy_of(statement(name, "s3:GetObject", what="/*"))
    for client in (w.alt, w.nobody):
        refused(403, "AccessDenied", client.put_bucket_policy, Bucket=name, Policy=text)
        refused(403, "AccessDenied", client.get_bucket_policy, Bucket=name)
        refused(403, "AccessDenied", client.delete_bucket_policy, Bucket=name)
        refused(403, "AccessDenied", client.get_bucket_policy_status, Bucket=name)
        refused(403, "AccessDenied", client.put_bucket_encryption, Bucket=name,
                ServerSideEncryptionConfiguration={"Rules": [
                    {"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"}}]})
        refused(403, "AccessDenied", client.delete_bucket, Bucket=name)
        refused(403, "AccessDenied", client.put_bucket_versioning, Bucket=name,
                VersioningConfiguration={"Status": "Enabled"})
    w.main.put_bucket_policy(Bucket=name, Policy=policy_of(statement(
        name, "s3:*", "Deny"), statement(name, "s3:*", "Deny", what="/*")))
    refused(403, "AccessDenied", w.main.put_object, Bucket=name, Key="k", Body=b"")
    w.main.get_bucket_policy(Bucket=name)
    w.main.delete_bucket_policy(Bucket=name)
    w.main.put_object(Bucket=name, Key="k", Body=b"")


@case
def policy_status(w):
    status = lambda n: w.main.get_bucket_policy_status(Bucket=n)["PolicyStatus"]["IsPublic"]  # noqa: E731
    name = w.bucket()
    assert not status(name)
    for acl, public in (("public-read", True), ("private", False), ("authenticated-read", True)):
        w.main.put_bucket_acl(Bucket=name, ACL=acl)
        assert status(name) == public, acl
    w.main.put_bucket_acl(Bucket=name, ACL="private")
    for more, public in (({}, True), ({"principal": {"AWS": "*"}}, True),
                         ({"principal": {"AWS": "arn:aws:iam:::user/alt"}}, False),
                         ({"Condition": {"IpAddress": {"aws:SourceIp": "10.0.0.0/32"}}}, False)):
        w.main.put_bucket_policy(Bucket=name, Policy=policy_of(
            statement(name, "s3:ListBucket", **more)))
        assert status(name) == public, more


@case
def conditions_of_policies(w):
    name = w.filled(["k", "public/k"])

    def let(*statements):
        w.main.put_bucket_policy(Bucket=name, Policy=policy_of(*statements))

    put = w.alt.put_object
    let(statement(name, "s3:PutObject", what="/*", Condition={
        "StringEquals": {"s3:RequestObjectTag/security": "public"}}))
    put(Bucket=name, Key="a", Body=b"", Tagging="security=public")
    refused(403, "AccessDenied", put, Bucket=name, Key="a", Body=b"", Tagging="security=private")
    refused(403, "AccessDenied", put, Bucket=name, Key="a", Body=b"")
    let(statement(name, "s3:PutObject", what="/*", Condition={
        "ForAllValues:StringLike": {"s3:RequestObjectTagKeys": ["a", "b*"]}}))
    put(Bucket=name, Key="a", Body=b"", Tagging="a=1&b2=2")
    refused(403, "AccessDenied", put, Bucket=name, Key="a", Body=b"", Tagging="a=1&c=2")
    let(statement(name, "s3:PutObject", what="/*", Condition={
        "ForAnyValue:StringEquals": {"s3:RequestObjectTagKeys": ["must"]}}))
    put(Bucket=name, Key="a", Body=b"", Tagging="x=1&must=2")
    refused(403, "AccessDenied", put, Bucket=name, Key="a", Body=b"", Tagging="x=1")
    refused(403, "AccessDenied", put, Bucket=name, Key="a", Body=b"")
    let(statement(name, ["s3:PutObject", "s3:PutObjectAcl"], what="/*", Condition={
        "StringNotEquals": {"s3:x-amz-acl": "private"}}))
    refused(403, "AccessDenied", put, Bucket=name, Key="a", Body=b"", ACL="private")
    put(Bucket=name, Key="a", Body=b"", ACL="public-read")
    let(statement(name, "s3:PutObject", what="/*"), statement(
        name, "s3:PutObject", "Deny", what="/*", Condition={
            "StringNotEquals": {"s3:x-amz-grant-full-control": "id=main"}}))
    refused(403, "AccessDenied", put, Bucket=name, Key="a", Body=b"")
    put(Bucket=name, Key="a", Body=b"", GrantFullControl="id=main")
    let(statement(name, ["s3:GetObject", "s3:PutObject"], what="/*", Condition={
        "StringLike": {"s3:x-amz-copy-source": f"{name}/public/*"}}),
        statement(name, "s3:GetObject", what="/*"))
    w.alt.copy_object(Bucket=name, Key="new", CopySource=f"{name}/public/k")
    refused(403, "AccessDenied", w.alt.copy_object, Bucket=name, Key="new", CopySource=f"{name}/k")
    let(statement(name, "s3:PutObject", what="/*"), statement(
        name, "s3:PutObject", "Deny", what="/*", Condition={
            "Null": {"s3:x-amz-server-side-encryption": "true"}}))
    refused(403, "AccessDenied", put, Bucket=name, Key="a", Body=b"")
    put(Bucket=name, Key="a", Body=b"", ServerSideEncryption="AES256")
    let(statement(name, "s3:ListBucket", Condition={
        "StringLikeIfExists": {"aws:Referer": "http://www.example.com/*"}}))
    w.alt.list_objects(Bucket=name)
    for referer, status in (("http://www.example.com/x", 200), ("http://example.com", 403)):
        got = signed(w, "GET", f"/{name}", user="alt", headers={"referer": referer})
        assert got.status == status, referer
    let(statement(name, "s3:*", principal={"AWS": ["arn:aws:iam:::user/alt"]}),
        statement(name, "s3:*", what="/*", principal={"AWS": ["alt"]}))
    w.alt.list_objects(Bucket=name)
    w.alt.delete_object(Bucket=name, Key="new")
    refused(403, "AccessDenied", w.nobody.list_objects, Bucket=name)
    let(statement(name, "s3:PutObjectTagging", what="/*", Condition={
        "StringEquals": {"s3:RequestObjectTag/a": "b"}}))
    w.alt.put_object_tagging(Bucket=name, Key="k", Tagging={"TagSet": [{"Key": "a", "Value": "b"}]})
    refused(403, "AccessDenied", w.alt.put_object_tagging, Bucket=name, Key="k",
            Tagging={"TagSet": [{"Key": "a", "Value": "c"}]})
    for action, call in (("s3:GetObjectTagging", w.alt.get_object_tagging),
                         ("s3:GetObjectAcl", w.alt.get_object_acl),
                         ("s3:GetObject", w.alt.get_object)):
        let(statement(name, action, what="/*", Condition={
            "StringEquals": {"s3:ExistingObjectTag/a": "b"}}))
        call(Bucket=name, Key="k")
        refused(403, "AccessDenied", call, Bucket=name, Key="public/k")
    got = json.loads(policy_of(statement(name, "s3:ListBucket")))
    got["Statement"][0]["NotPrincipal"] = got["Statement"][0].pop("Principal")
    refused(400, "MalformedPolicy", w.main.put_bucket_policy, Bucket=name, Policy=json.dumps(got))
    got["Statement"][0].update(Effect="Deny", NotPrincipal={"AWS": "main"})
    let(*got["Statement"])
    w.main.list_objects(Bucket=name)


@case
def blocks_of_public_access(w):
    name = w.bucket()
    block = lambda **more: w.main.put_public_access_block(  # noqa: E731
        Bucket=name, PublicAccessBlockConfiguration=more)
    block(BlockPublicAcls=True)
    for acl in ("public-read", "public-read-write", "authenticated-read"):
        refused(403, "AccessDenied", w.main.put_bucket_acl, Bucket=name, ACL=acl)
        refused(403, "AccessDenied", w.main.put_object, Bucket=name, Key="k", Body=b"", ACL=acl)
    block(BlockPublicPolicy=True)
    refused(403, "AccessDenied", w.main.put_bucket_policy, Bucket=name,
            Policy=policy_of(statement(name, "s3:GetObject", what="/*")))
    w.main.put_bucket_policy(Bucket=name, Policy=policy_of(statement(
        name, "s3:GetObject", what="/*", principal={"AWS": "arn:aws:iam:::user/alt"})))
    w.main.delete_bucket_policy(Bucket=name)
    w.main.delete_public_access_block(Bucket=name)
    w.main.put_bucket_acl(Bucket=name, ACL="public-read")
    w.main.put_object(Bucket=name, Key="k", Body=b"", ACL="public-read")
    w.nobody.get_object(Bucket=name, Key="k")
    block(IgnorePublicAcls=True)
    refused(403, "AccessDenied", w.alt.list_objects, Bucket=name)
    refused(403, "AccessDenied", w.nobody.get_object, Bucket=name, Key="k")
    assert not w.main.get_public_access_block(Bucket=name)["PublicAccessBlockConfiguration"][
        "BlockPublicAcls"]
    w.main.put_bucket_policy(Bucket=name, Policy=policy_of(
        statement(name, "s3:GetObject", what="/*")))
    w.alt.get_object(Bucket=name, Key="k")
    block(RestrictPublicBuckets=True)
    w.main.put_object_acl(Bucket=name, Key="k", ACL="private")
    refused(403, "AccessDenied", w.alt.get_object, Bucket=name, Key="k")
    w.main.get_object(Bucket=name, Key="k")


@case
def owners_of_objects(w):
    controls = lambda n, rule: w.main.put_bucket_ownership_controls(  # noqa: E731
        Bucket=n, OwnershipControls={"Rules": [{"ObjectOwnership": rule}]})
    name = w.bucket(ACL="public-read-write")
    refused(400, "InvalidBucketAclWithObjectOwnership", controls, name, "BucketOwnerEnforced")
    controls(name, "BucketOwnerPreferred")
    w.alt.put_object(Bucket=name, Key="mine", Body=b"")
    w.alt.put_object(Bucket=name, Key="given", Body=b"", ACL="bucket-owner-full-control")
    assert w.main.get_object_acl(Bucket=name, Key="mine")["Owner"]["ID"] == "alt"
    assert w.main.get_object_acl(Bucket=name, Key="given")["Owner"]["ID"] == "main"
    controls(name, "ObjectWriter")
    w.alt.put_object(Bucket=name, Key="given", Body=b"", ACL="bucket-owner-full-control")
    assert w.main.get_object_acl(Bucket=name, Key="given")["Owner"]["ID"] == "alt"
    w.main.put_bucket_acl(Bucket=name, ACL="private")
    controls(name, "BucketOwnerEnforced")
    w.main.put_bucket_policy(Bucket=name, Policy=policy_of(statement(name, "s3:*", what="/*")))
    w.alt.put_object(Bucket=name, Key="e", Body=b"")
    assert w.main.get_object_acl(Bucket=name, Key="e")["Owner"]["ID"] == "main"
    for acl in ("public-read", "private", "authenticated-read"):
        refused(400, "AccessControlListNotSupported", w.main.put_object, Bucket=name, Key="k",
                Body=b"", ACL=acl)
        refused(400, "AccessControlListNotSupported", w.main.put_bucket_acl, Bucket=name, ACL=acl)
    refused(400, "AccessControlListNotSupported", w.main.put_object_acl, Bucket=name, Key="e",
            ACL="public-read")
    w.main.put_object(Bucket=name, Key="k", Body=b"", ACL="bucket-owner-full-control")
    refused(400, "MalformedXML", controls, name, "Nobody")
    got = signed(w, "PUT", "/never-made", headers={"x-amz-object-ownership": "BucketOwnerEnforced",
                                                   "x-amz-acl": "public-read"})
    assert got.status == 400 and b"InvalidBucketAclWithObjectOwnership" in got.text, got.text


# Locks.


@case
def locks(w):
    plain, name = w.bucket(), w.bucket(ObjectLockEnabledForBucket=True)
    put = w.main.put_object_lock_configuration
    rule = lambda **more: {"ObjectLockEnabled": "Enabled",  # noqa: E731
                           "Rule": {"DefaultRetention": more}}
    w.main.put_bucket_versioning(Bucket=plain, VersioningConfiguration={"Status": "Suspended"})
    refused(409, "InvalidBucketState", put, Bucket=plain,
            ObjectLockConfiguration=rule(Mode="GOVERNANCE", Days=1))
    for code, bad in (("InvalidRetentionPeriod", rule(Mode="GOVERNANCE", Days=0)),
                      ("InvalidRetentionPeriod", rule(Mode="GOVERNANCE", Years=-1)),
                      ("MalformedXML", rule(Mode="abc", Years=1)),
                      ("MalformedXML", rule(Mode="governance", Years=1)),
                      ("MalformedXML", rule(Mode="GOVERNANCE", Years=1, Days=1)),
                      ("MalformedXML", dict(rule(Mode="GOVERNANCE", Days=1),
                                            ObjectLockEnabled="Disabled"))):
        refused(400, code, put, Bucket=name, ObjectLockConfiguration=bad)
    until = datetime.datetime.utcnow().replace(microsecond=0) + datetime.timedelta(days=1)
    version = w.main.put_object(Bucket=name, Key="k", Body=b"x")["VersionId"]
    retain = w.main.put_object_retention
    refused(404, "NoSuchObjectLockConfiguration", w.main.get_object_retention, Bucket=name, Key="k")
    for mode in ("governance", "abc"):
        refused(400, "MalformedXML", retain, Bucket=name, Key="k", Retention={
            "Mode": mode, "RetainUntilDate": until})
    refused(400, "InvalidArgument", retain, Bucket=name, Key="k", Retention={
        "Mode": "GOVERNANCE", "RetainUntilDate": until - datetime.timedelta(days=9)})
    for call in (w.main.get_object_retention, w.main.get_object_legal_hold):
        refused(400, "InvalidRequest", call, Bucket=w.filled(["k"]), Key="k")
    retain(Bucket=name, Key="k", VersionId=version,
           Retention={"Mode": "GOVERNANCE", "RetainUntilDate": until})
    kept = w.main.get_object_retention(Bucket=name, Key="k", VersionId=version)["Retention"]
    assert kept["Mode"] == "GOVERNANCE" and kept["RetainUntilDate"].replace(tzinfo=None) == until
    later = until + datetime.timedelta(days=1)
    refused(403, "AccessDenied", retain, Bucket=name, Key="k",
            Retention={"Mode": "COMPLIANCE", "RetainUntilDate": until - datetime.timedelta(hours=1)})
    retain(Bucket=name, Key="k", Retention={"Mode": "GOVERNANCE", "RetainUntilDate": later})
    marker = w.main.delete_object(Bucket=name, Key="k")
    assert marker["DeleteMarker"]
    w.main.delete_object(Bucket=name, Key="k", VersionId=marker["VersionId"])
    refused(403, "AccessDenied", w.main.delete_object, Bucket=name, Key="k", VersionId=version)
    retain(Bucket=name, Key="k", Retention={"Mode": "COMPLIANCE", "RetainUntilDate": later},
           BypassGovernanceRetention=True)
    refused(403, "AccessDenied", retain, Bucket=name, Key="k", BypassGovernanceRetention=True,
            Retention={"Mode": "GOVERNANCE", "RetainUntilDate": later})
    hold = w.main.put_object_legal_hold
    refused(400, "MalformedXML", hold, Bucket=name, Key="k", LegalHold={"Status": "abc"})
    hold(Bucket=name, Key="k", LegalHold={"Status": "ON"})
    head = w.main.head_object(Bucket=name, Key="k")
    assert head["ObjectLockMode"] == "COMPLIANCE" and head["ObjectLockLegalHoldStatus"] == "ON"
    put(Bucket=name, ObjectLockConfiguration=rule(Mode="GOVERNANCE", Days=1))
    free = until + datetime.timedelta(days=3)
    w.main.put_object(Bucket=name, Key="o", Body=b"", ObjectLockMode="GOVERNANCE",
                      ObjectLockRetainUntilDate=free, ObjectLockLegalHoldStatus="OFF")
    kept = w.main.get_object_retention(Bucket=name, Key="o")["Retention"]
    assert kept["RetainUntilDate"].replace(tzinfo=None) == free
    for bad in ({"ObjectLockMode": "GOVERNANCE"}, {"ObjectLockRetainUntilDate": free},
                {"ObjectLockMode": "abc", "ObjectLockRetainUntilDate": free},
                {"ObjectLockLegalHoldStatus": "abc"},
                {"ObjectLockMode": "GOVERNANCE",
                 "ObjectLockRetainUntilDate": datetime.datetime(2001, 1, 1)}):
        refused(400, "InvalidArgument", w.main.put_object, Bucket=name, Key="b", Body=b"", **bad)
    upload, parts = upload_parts(w.main, name, "m", [b"x"], ObjectLockMode="GOVERNANCE",
                                 ObjectLockRetainUntilDate=free, ObjectLockLegalHoldStatus="ON")
    done = w.main.complete_multipart_upload(Bucket=name, Key="m", UploadId=upload,
                                            MultipartUpload={"Parts": parts})
    refused(403, "AccessDenied", w.main.delete_object, Bucket=name, Key="m",
            VersionId=done["VersionId"], BypassGovernanceRetention=True)
    hold(Bucket=name, Key="m", LegalHold={"Status": "OFF"})
    w.main.delete_object(Bucket=name, Key="m", VersionId=done["VersionId"],
                         BypassGovernanceRetention=True)
    w.main.put_bucket_versioning(Bucket=plain, VersioningConfiguration={"Status": "Enabled"})
    put(Bucket=plain, ObjectLockConfiguration=rule(Mode="GOVERNANCE", Days=1))


# Lifecycle.


@case
def lifecycle_documents(w):
    name = w.bucket()
    put = lambda *rules: w.main.put_bucket_lifecycle_configuration(  # noqa: E731
        Bucket=name, LifecycleConfiguration={"Rules": list(rules)})
    rule = {"ID": "r", "Status": "Enabled", "Prefix": "t/", "Expiration": {"Days": 1}}
    put(rule, dict(rule, ID="s", Prefix="u/", Status="Disabled"))
    assert w.main.get_bucket_lifecycle_configuration(Bucket=name)["Rules"][1]["Prefix"] == "u/"
    filtered = {k: v for k, v in rule.items() if k != "Prefix"}
    for good in (dict(filtered, Filter={"Tag": {"Key": "a", "Value": "b"}}),
                 dict(filtered, Filter={}), dict(filtered, Filter={"ObjectSizeGreaterThan": 512000}),
                 dict(filtered, Filter={"ObjectSizeLessThan": 64000}),
                 dict(filtered, Filter={"And": {"Prefix": "x", "Tags": [{"Key": "a", "Value": "b"}]}}),
                 dict(rule, Expiration={"ExpiredObjectDeleteMarker": True}),
                 dict(rule, Expiration={"Date": datetime.datetime(2030, 1, 1)}),
                 {"ID": "n", "Status": "Enabled", "Prefix": "p",
                  "NoncurrentVersionExpiration": {"NoncurrentDays": 2}},
                 {"ID": "n", "Status": "Enabled", "Prefix": "p",
                  "NoncurrentVersionTransitions": [{"NoncurrentDays": 2, "StorageClass": "GLACIER"}]},
                 {"ID": "n", "Status": "Enabled", "Prefix": "p",
                  "Transitions": [{"Date": datetime.datetime(2030, 1, 1), "StorageClass": "GLACIER"}]},
                 {"ID": "n", "Status": "Enabled", "Prefix": "p",
                  "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": 2}}):
        put(good)
        assert w.main.get_bucket_lifecycle_configuration(Bucket=name)["Rules"][0]["Status"] == "Enabled"
    document = "<LifecycleConfiguration>{}</LifecycleConfiguration>"
    text = "<Rule><ID>r</ID><Status>Enabled</Status><Prefix>p</Prefix>{}</Rule>"
    for code, body in (
            ("MalformedXML", text.format("<Expiration><Date>20200101</Date></Expiration>")),
            ("MalformedXML", text.format("")), ("MalformedXML", ""),
            ("MalformedXML", text.format("<Transition><Date>20220927</Date>"
                                         "<StorageClass>GLACIER</StorageClass></Transition>")),
            ("InvalidArgument", text.format("<Expiration><Days>0</Days></Expiration>")),
            ("InvalidArgument", text.format("<Expiration><Days>-1</Days></Expiration>")),
            ("InvalidArgument", 2 * text.format("<Expiration><Days>1</Days></Expiration>")),
            ("MalformedXML", text.format("<Expiration><Days>1</Days></Expiration>")
             .replace("Enabled", "on"))):
        data = document.format(body).encode()
        md5 = base64.b64encode(hashlib.md5(data).digest()).decode()
        got = signed(w, "PUT", f"/{name}", data, query={"lifecycle": ""},
                     headers={"content-md5": md5})
        assert got.status == 400, (body, got.text)
        assert code.encode() in got.text or (code == "MalformedXML" and b"Invalid" in got.text), (
            body, got.text)
    refused(400, "InvalidArgument", put, dict(rule, ID="x" * 256))


@case
def expiration_headers(w):
    name = w.bucket()
    w.main.put_bucket_lifecycle_configuration(Bucket=name, LifecycleConfiguration={"Rules": [
        {"ID": "r1", "Status": "Enabled", "Expiration": {"Days": 10000},
         "Filter": {"And": {"Prefix": "days/", "Tags": [{"Key": "k", "Value": "v"}]}}}]})
    answer = w.main.put_object(Bucket=name, Key="days/k", Body=b"", Tagging="k=v")
    for answer in (answer, w.main.head_object(Bucket=name, Key="days/k"),
                   w.main.get_object(Bucket=name, Key="days/k")):
        assert 'rule-id="r1"' in answer["Expiration"] and "expiry-date=" in answer["Expiration"]
    w.main.put_object_tagging(Bucket=name, Key="days/k", Tagging={
        "TagSet": [{"Key": "k", "Value": "other"}]})
    assert "Expiration" not in w.main.head_object(Bucket=name, Key="days/k")
    assert "Expiration" not in w.main.put_object(Bucket=name, Key="days/k", Body=b"")


# Tags.


@case
def tags_of_all_kinds(w):
    name = w.bucket()
    w.main.put_object(Bucket=name, Key="k", Body=b"", Tagging="foo=bar&bar&baz=%20x%26")
    assert w.main.get_object_tagging(Bucket=name, Key="k")["TagSet"] == [
        {"Key": "foo", "Value": "bar"}, {"Key": "bar", "Value": ""}, {"Key": "baz", "Value": " x&"}]
    many = "&".join(f"k{i}=v" for i in range(11))
    refused(400, "InvalidTag", w.main.put_object, Bucket=name, Key="k", Body=b"", Tagging=many)
    for tags in ([{"Key": "a", "Value": "1"}, {"Key": "a", "Value": "2"}],
                 [{"Key": "aws:x", "Value": "1"}]):
        refused(400, "InvalidTag", w.main.put_object_tagging, Bucket=name, Key="k",
                Tagging={"TagSet": tags})
        refused(400, "InvalidTag", w.main.put_bucket_tagging, Bucket=name, Tagging={"TagSet": tags})
    refused(404, "NoSuchKey", w.main.get_object_tagging, Bucket=name, Key="none")
    refused(404, "NoSuchKey", w.main.put_object_tagging, Bucket=name, Key="none",
            Tagging={"TagSet": []})
    w.main.put_bucket_versioning(Bucket=name, VersioningConfiguration={"Status": "Enabled"})
    one = w.main.put_object(Bucket=name, Key="k", Body=b"", Tagging="v=1")["VersionId"]
    w.main.put_object(Bucket=name, Key="k", Body=b"", Tagging="v=2")
    got = w.main.get_object_tagging(Bucket=name, Key="k", VersionId=one)
    assert got["VersionId"] == one and got["TagSet"] == [{"Key": "v", "Value": "1"}]
    answer = w.main.delete_object_tagging(Bucket=name, Key="k", VersionId=one)
    assert answer["VersionId"] == one


# Signatures.


@case
def presigned_corners(w):
    name = w.filled(["k"])
    make = w.main.generate_presigned_url
    path = lambda url: url.split(str(w.server.s3_port), 1)[1]  # noqa: E731
    params = {"Bucket": name, "Key": "k"}
    url = make("get_object", Params=params, ExpiresIn=604800)
    assert w.request("GET", path(url)).status == 200
    assert w.request("HEAD", path(url)).status == 403
    assert w.request("PUT", path(url), b"").status == 403
    assert w.request("GET", path(url).replace("/k?", "/l?")).status == 403
    url = make("get_object", Params=params, ExpiresIn=604801)
    got = w.request("GET", path(url))
    assert got.status in (400, 403) and (b"AccessDenied" in got.text or
                                         b"AuthorizationQueryParametersError" in got.text)
    url = make("get_object", Params=dict(params, ResponseContentType="a/b",
                                         ResponseExpires="Sat, 01 Jan 2033 00:00:00 GMT"))
    got = w.request("GET", path(url))
    assert got.headers["content-type"] == "a/b"
    assert got.headers["expires"] == "Sat, 01 Jan 2033 00:00:00 GMT"
    got = w.request("GET", f"/{name}/k?response-content-type=a/b")
    assert got.status in (400, 403)
    old = boto3.client("s3", endpoint_url=w.server.url, aws_access_key_id=KEYS["main"][0],
                       aws_secret_access_key=KEYS["main"][1], region_name=REGION,
                       config=Config(signature_version="s3"))
    refused(400, "InvalidRequest", old.list_buckets)
    got = w.request("GET", path(old.generate_presigned_url("get_object", Params=params)))
    assert got.status == 400 and b"InvalidRequest" in got.text, got.text


@case
def signatures_refused(w):
    name = w.filled(["k"])
    for skew, status in ((0, 200), (800, 200), (-800, 200), (1000, 403), (-1000, 403)):
        got = signed(w, "GET", f"/{name}/k", skew=skew)
        assert got.status == status, skew
        assert status == 200 or b"RequestTimeTooSkewed" in got.text
    assert signed(w, "GET", f"/{name}/k", region="mars-1").status == 200
    for headers, status, code in (
            ({"Authorization": "AWS4-HMAC-SHA256 Credential=a/b"}, 400,
             b"AuthorizationHeaderMalformed"),
            ({"Authorization": "AWS4-HMAC-SHA256 Credential=none/20200101/r/s3/aws4_request,"
              "SignedHeaders=host,Signature=" + "0" * 64}, 403, b"AccessDenied"),
            ({"Authorization": "Bearer x"}, 400, b"InvalidArgument")):
        got = w.request("GET", f"/{name}/k", headers=headers)
        assert got.status == status and code in got.text, (headers, got.text)
    got = signed(w, "PUT", f"/{name}/k", b"x", headers={"x-amz-content-sha256": "junk"})
    assert got.status in (400, 403), got.text
    got = signed(w, "PUT", f"/{name}/k", b"x", headers={
        "x-amz-content-sha256": "STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD"})
    assert got.status in (400, 501), got.text


@case
def unsigned_trailers(w):
    name = w.bucket()
    crc = base64.b64encode(zlib.crc32(b"hello world").to_bytes(4, "big")).decode()
    for lines, status in ((f"x-amz-checksum-crc32:{crc}\r\n\r\n", 200),
                          ("x-amz-checksum-crc32:AAAAAA==\r\n\r\n", 400),
                          ("x-amz-checksum-crc32:junk\r\n\r\n", 400), ("\r\n", 400),
                          (f"x-amz-checksum-sha1:{crc}\r\n\r\n", 400)):
        body = b"b\r\nhello world\r\n0\r\n" + lines.encode()
        got = signed(w, "PUT", f"/{name}/k", body, headers={
            "x-amz-content-sha256": "STREAMING-UNSIGNED-PAYLOAD-TRAILER",
            "x-amz-trailer": "x-amz-checksum-crc32", "x-amz-decoded-content-length": "11",
            "content-encoding": "aws-chunked"})
        assert got.status == status, (lines, got.status, got.text)
    assert w.main.get_object(Bucket=name, Key="k")["Body"].read() == b"hello world"
    got = signed(w, "PUT", f"/{name}/k", b"b\r\nhello world\r\n0\r\n\r\n", headers={
        "x-amz-content-sha256": "STREAMING-UNSIGNED-PAYLOAD-TRAILER",
        "x-amz-decoded-content-length": "12", "content-encoding": "aws-chunked"})
    assert got.status == 400, got.text


# Forms.


@case
def forms_of_all_kinds(w):
    name = w.bucket()
    base = [{"bucket": name}, ["starts-with", "$key", "foo"], {"acl": "private"},
            ["starts-with", "$Content-Type", "text/plain"], ["content-length-range", 0, 1024]]
    more = {"acl": "private", "Content-Type": "text/plain"}
    go = lambda fields, body=b"bar": post(w, name, fields, body)  # noqa: E731
    answer = go(signed_form(base, **more))
    assert answer.status == 204
    answer = go(signed_form(base + [["eq", "$success_action_status", "404"]],
                            success_action_status="404", **more))
    assert answer.status == 204 and answer.text == b""
    cases = [["starts-with", "$KeY", "foo"], {"aCl": "private"}, {"bUcKeT": name},
             ["StArTs-WiTh", "$CoNtEnT-TyPe", "text/plain"], ["content-length-range", 0, 1024]]
    assert go(signed_form(cases, **more)).status == 204
    escaped = [{"bucket": name}, ["starts-with", "$key", "\\$foo"]] + base[2:]
    answer = go(signed_form(escaped, key="\\$foo.txt", **more))
    assert answer.status == 204
    assert w.main.get_object(Bucket=name, Key="\\$foo.txt")["Body"].read() == b"bar"
    assert go(signed_form(base + [["starts-with", "$x-amz-meta-foo", "bar"]], **more,
                          **{"x-amz-meta-foo": "barclamp"})).status == 204
    assert w.main.head_object(Bucket=name, Key="foo.txt")["Metadata"] == {"foo": "barclamp"}
    assert go(signed_form(base, **more, **{"x-ignore-foo": "bar"})).status == 204
    redirect = [["eq", "$success_action_redirect", "http://localhost:1/there"]]
    answer = go(signed_form(base + redirect, success_action_redirect="http://localhost:1/there",
                            **more))
    etag = w.main.head_object(Bucket=name, Key="foo.txt")["ETag"].strip('"')
    assert answer.status == 303 and answer.headers["location"] == \
        f"http://localhost:1/there?bucket={name}&key=foo.txt&etag=%22{etag}%22"
    tags = "<Tagging><TagSet><Tag><Key>a</Key><Value>b</Value></Tag></TagSet></Tagging>"
    assert go(signed_form(base + [["starts-with", "$tagging", ""]], tagging=tags, **more)).status == 204
    assert w.main.get_object_tagging(Bucket=name, Key="foo.txt")["TagSet"] == [
        {"Key": "a", "Value": "b"}]
    value = base64.b64encode(hashlib.sha256(b"bar").digest()).decode()
    for text, status in ((value, 204), (base64.b64encode(bytes(32)).decode(), 400)):
        fields = signed_form(base + [["starts-with", "$x-amz-checksum-sha256", ""]], **more,
                             **{"x-amz-checksum-sha256": text})
        assert go(fields).status == status
    for status, fields in (
            (403, signed_form(base + [["eq", "$x-amz-meta-foo", ""]], **more,
                              **{"x-amz-meta-foo": "barclamp"})),
            (403, signed_form([c for c in base if c != {"acl": "private"}], **more)),
            (403, signed_form(base + [{"x-amz-meta-a": "1"}], **more)),
            (403, dict(signed_form(base, **more), signature="AAAA")),
            (403, dict(signed_form(base, **more), AWSAccessKeyId="foo")),
            (403, signed_form(base, expires=-6000, **more)),
            (400, {k: v for k, v in signed_form(base, **more).items() if k != "signature"}),
            (400, {k: v for k, v in signed_form(
                [{"bucket": name}] + base[2:], **more).items() if k != "key"}),
            (400, signed_form(base[:4] + [["content-length-range", 0, 2]], **more)),
            (400, signed_form(base[:4] + [["content-length-range", 512, 1000]], **more)),
            (400, signed_form(base[:4] + [["content-length-range", -1, 0]], **more)),
            (400, signed_form(base[:4] + [["content-length-range", 0]], **more)),
            (400, signed_form([{}], **more))):
        got = go(fields)
        assert got.status == status, (status, got.status, got.text, fields)
    for change, status in (({"EXPIRATION": 1}, 400), ({"CONDITIONS": 1}, 400),
                           ({"expiration": None}, 400), ({"conditions": None}, 400),
                           ({"expiration": "2099-01-01 00:00"}, 400), ({}, 204)):
        document = {"expiration": "2099-01-01T00:00:00Z", "conditions": base}
        for key, value in change.items():
            if value == 1:
                document[key] = document.pop(key.lower())
            elif value is None:
                del document[key]
            else:
                document[key] = value
        policy = base64.b64encode(json.dumps(document).encode()).decode()
        digest = hmac.new(KEYS["main"][1].encode(), policy.encode(), hashlib.sha1).digest()
        got = go({"key": "foo.txt", "AWSAccessKeyId": KEYS["main"][0], "policy": policy,
                  "signature": base64.b64encode(digest).decode(), **more})
        assert got.status == status, (change, got.status, got.text)



# Clients that go away, and keys that change.


@case
def clients_that_go(w):
    """In the middle of bodies, of both kinds: what they began is given up, and nothing else."""
    name, body = w.bucket(), payload(3 * MIB, 5)
    w.main.put_object(Bucket=name, Key="k", Body=body, ServerSideEncryption="AES256")
    for extra in ({}, {"ServerSideEncryption": "AES256"}, SSE):
        for size in (10, 70000, 300000, 2 * MIB):
            url = w.main.generate_presigned_url("put_object", Params={
                "Bucket": name, "Key": "gone", **extra})
            parts = urllib.parse.urlsplit(url)
            lines = "".join(f"{k}: {v}\r\n" for k, v in sse_lines(extra).items())
            with socket.create_connection(("127.0.0.1", w.server.s3_port)) as peer:
                peer.sendall(f"PUT {parts.path}?{parts.query} HTTP/1.1\r\nHost: {parts.netloc}\r\n"
                             f"{lines}Content-Length: {3 * MIB}\r\n\r\n".encode() + body[:size])
    url = urllib.parse.urlsplit(w.main.generate_presigned_url("get_object", Params={
        "Bucket": name, "Key": "k"}))
    for size in (1, 1000, 400000):
        with socket.create_connection(("127.0.0.1", w.server.s3_port)) as peer:
            peer.sendall(f"GET {url.path}?{url.query} HTTP/1.1\r\nHost: {url.netloc}\r\n\r\n".encode())
            got = 0
            while got < size:
                got += len(peer.recv(65536))
    refused(404, "NoSuchKey", w.main.get_object, Bucket=name, Key="gone")
    assert w.main.get_object(Bucket=name, Key="k")["Body"].read() == body


def sse_lines(extra):
    if "SSECustomerKey" in extra:
        key = extra["SSECustomerKey"].encode()
        prefix = "x-amz-server-side-encryption-customer-"
        return {prefix + "algorithm": "AES256", prefix + "key": base64.b64encode(key).decode(),
                prefix + "key-md5": base64.b64encode(hashlib.md5(key).digest()).decode()}
    return {"x-amz-server-side-encryption": "AES256"} if extra else {}


@case
def keys_that_change(w):
    name, path = w.bucket(), w.server.data / "s3.key"
    upload, parts = upload_parts(w.main, name, "m", [payload(5 * MIB), b"end"],
                                 ServerSideEncryption="AES256")

    def again(text):
        w.server.stop(signal.SIGTERM)
        path.write_text(text)
        w.server.start()
        w.main = w.client("main")

    w.main.put_object(Bucket=name, Key="old", Body=b"old", ServerSideEncryption="AES256")
    old = path.read_text()
    again("# the newest first\n" + "ab" * 32 + "\n" + old)
    assert w.main.get_object(Bucket=name, Key="old")["Body"].read() == b"old"
    w.main.put_object(Bucket=name, Key="new", Body=b"new", ServerSideEncryption="AES256")
    # An upload goes on with the key that it began with.
    parts[1]["ETag"] = w.main.upload_part(Bucket=name, Key="m", UploadId=upload, PartNumber=2,
                                          Body=b"END")["ETag"]
    w.main.complete_multipart_upload(Bucket=name, Key="m", UploadId=upload,
                                     MultipartUpload={"Parts": parts})
    again(old)
    assert w.main.get_object(Bucket=name, Key="m")["Body"].read() == payload(5 * MIB) + b"END"
    refused(500, "InternalError", w.main.get_object, Bucket=name, Key="new")
    assert w.main.list_objects(Bucket=name)["Contents"][1]["Size"] == 3
    again("ab" * 32 + "\n" + old)
    assert w.main.get_object(Bucket=name, Key="new")["Body"].read() == b"new"


main(__doc__)
