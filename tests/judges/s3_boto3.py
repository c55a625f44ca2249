#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The S3 face through boto3 with its default flags: what the API reference says, case by case."""
import base64
import datetime
import hashlib
import hmac
import io
import json
import os
import threading
import time
import urllib.request
import zlib

import boto3
from botocore.exceptions import ClientError

from s3_server import KEYS, REGION
from s3_world import (MIB, SSE, case, keys, main, payload, policy_of, post, prefixes, refused, sign,
                      signed_form, statement, upload_parts)


# Buckets.


@case
def bucket_names(w):
    for name in ("Abc", "a_b", "ab-", "-ab", "a..b", "192.168.5.123", "x" * 64):
        answer = w.request("PUT", "/" + name)
        assert answer.status in (400, 403), (name, answer.status)
    for name in ("abc", "a.b", "x" * 63, "foo-bar.1"):
        w.main.create_bucket(Bucket=name)
        w.main.head_bucket(Bucket=name)
        w.main.delete_bucket(Bucket=name)


@case
def bucket_exists(w):
    name = w.bucket()
    w.main.create_bucket(Bucket=name)
    refused(409, "BucketAlreadyExists", w.alt.create_bucket, Bucket=name)
    refused(409, "BucketAlreadyExists", w.main.create_bucket, Bucket=name, ACL="public-read")


@case
def bucket_life(w):
    name = w.bucket()
    assert name in [b["Name"] for b in w.main.list_buckets()["Buckets"]]
    assert name not in [b["Name"] for b in w.alt.list_buckets()["Buckets"]]
    assert w.main.get_bucket_location(Bucket=name)["LocationConstraint"] is None
    w.main.put_object(Bucket=name, Key="k", Body=b"")
    refused(409, "BucketNotEmpty", w.main.delete_bucket, Bucket=name)
    w.main.delete_object(Bucket=name, Key="k")
    w.main.delete_bucket(Bucket=name)
    refused(404, "NoSuchBucket", w.main.delete_bucket, Bucket=name)
    refused(404, "NoSuchBucket", w.main.list_objects, Bucket=name)
    refused(404, "NoSuchBucket", w.main.put_object, Bucket=name, Key="k", Body=b"")
    refused(404, "404", w.main.head_bucket, Bucket=name)


@case
def anonymous_buckets(w):
    assert w.nobody.list_buckets()["Buckets"] == []
    name = w.bucket()
    refused(403, "AccessDenied", w.nobody.list_objects, Bucket=name)
    refused(403, "AccessDenied", w.alt.list_objects_v2, Bucket=name)
    refused(403, "AccessDenied", w.nobody.put_object, Bucket=name, Key="k", Body=b"")


# Objects.


@case
def object_round_trip(w):
    name = w.bucket()
    for size in (0, 1, 4095, 4096, 4097, 65536, 262143, 262144, 262145, 1 << 20, 3 * MIB + 7):
        body = payload(size, size)
        etag = w.main.put_object(Bucket=name, Key=f"k{size}", Body=body)["ETag"]
        assert etag == f'"{hashlib.md5(body).hexdigest()}"'
        answer = w.main.get_object(Bucket=name, Key=f"k{size}")
        assert answer["Body"].read() == body and answer["ContentLength"] == size
        assert w.main.head_object(Bucket=name, Key=f"k{size}")["ContentLength"] == size


@case
def object_headers(w):
    name = w.bucket()
    said = {"CacheControl": "max-age=60", "ContentDisposition": "attachment; filename=a",
            "ContentEncoding": "gzip", "ContentLanguage": "de", "ContentType": "text/x-a",
            "Metadata": {"one": "1", "two": "b c"}, "WebsiteRedirectLocation": "/b"}
    w.main.put_object(Bucket=name, Key="k", Body=b"x", **said)
    for answer in (w.main.get_object(Bucket=name, Key="k"), w.main.head_object(Bucket=name, Key="k")):
        for field, value in said.items():
            assert answer[field] == value, (field, answer.get(field))
    answer = w.main.get_object(Bucket=name, Key="k", ResponseContentType="a/b",
                               ResponseCacheControl="no-cache", ResponseContentLanguage="fr",
                               ResponseContentEncoding="br", ResponseContentDisposition="bla")
    assert (answer["ContentType"], answer["CacheControl"], answer["ContentLanguage"],
            answer["ContentEncoding"], answer["ContentDisposition"]) == \
        ("a/b", "no-cache", "fr", "br", "bla")
    w.main.put_object(Bucket=name, Key="k2", Body=b"x")
    assert w.main.get_object(Bucket=name, Key="k2")["ContentType"] == "binary/octet-stream"
    refused(400, "MetadataTooLarge", w.main.put_object, Bucket=name, Key="k", Body=b"",
            Metadata={"a": "x" * 2049})


@case
def object_names(w):
    names = ["a b", "a+b", "a%b", "ä/ö", "a//b", "a/./b/../c", "*", "(x)", "a&b=c", "~", "'", "\"<>&",
             "x" * 1024, " lead", "trail ", "tab\there", "日本語"]
    name = w.bucket()
    for key in names:
        w.main.put_object(Bucket=name, Key=key, Body=key.encode())
        assert w.main.get_object(Bucket=name, Key=key)["Body"].read() == key.encode()
    listed = keys(w.main.list_objects_v2(Bucket=name))
    assert listed == sorted(names, key=lambda k: k.encode()), listed
    refused(400, "KeyTooLongError", w.main.put_object, Bucket=name, Key="x" * 1025, Body=b"")


@case
def ranges(w):
    name, body = w.bucket(), payload(600000)
    w.main.put_object(Bucket=name, Key="k", Body=body)
    for text, first, last in (("0-0", 0, 0), ("4-7", 4, 7), ("262140-262150", 262140, 262150),
                              ("599999-", 599999, 599999), ("-7", 599993, 599999),
                              ("5-99999999", 5, 599999), ("-999999999", 0, 599999)):
        answer = w.main.get_object(Bucket=name, Key="k", Range="bytes=" + text)
        assert answer["ResponseMetadata"]["HTTPStatusCode"] == 206
        assert answer["ContentRange"] == f"bytes {first}-{last}/600000"
        assert answer["Body"].read() == body[first:last + 1]
    refused(416, "InvalidRange", w.main.get_object, Bucket=name, Key="k", Range="bytes=600000-")
    assert len(w.main.get_object(Bucket=name, Key="k", Range="lines=1-2")["Body"].read()) == 600000
    w.main.put_object(Bucket=name, Key="empty", Body=b"")
    refused(416, "InvalidRange", w.main.get_object, Bucket=name, Key="empty", Range="bytes=0-1")


@case
def read_conditions(w):
    name = w.filled(["k"])
    etag = w.main.head_object(Bucket=name, Key="k")["ETag"]
    past = datetime.datetime(2000, 1, 1)
    future = datetime.datetime.utcnow() + datetime.timedelta(days=1)
    w.main.get_object(Bucket=name, Key="k", IfMatch=etag)
    refused(412, "PreconditionFailed", w.main.get_object, Bucket=name, Key="k", IfMatch='"no"')
    refused(304, "304", w.main.get_object, Bucket=name, Key="k", IfNoneMatch=etag)
    w.main.get_object(Bucket=name, Key="k", IfNoneMatch='"no"')
    w.main.get_object(Bucket=name, Key="k", IfModifiedSince=past)
    time.sleep(1)
    refused(304, "304", w.main.get_object, Bucket=name, Key="k",
            IfModifiedSince=datetime.datetime.utcnow())
    refused(412, "PreconditionFailed", w.main.get_object, Bucket=name, Key="k",
            IfUnmodifiedSince=past)
    w.main.get_object(Bucket=name, Key="k", IfUnmodifiedSince=future)
    refused(304, "304", w.main.head_object, Bucket=name, Key="k", IfNoneMatch=etag)
    refused(412, "412", w.main.head_object, Bucket=name, Key="k", IfMatch='"no"')


@case
def write_conditions(w):
    for versioned in (False, True):
        name = w.bucket()
        if versioned:
            w.main.put_bucket_versioning(Bucket=name,
                                         VersioningConfiguration={"Status": "Enabled"})
        etag = w.main.put_object(Bucket=name, Key="k", Body=b"1", IfNoneMatch="*")["ETag"]
        answer = refused(412, "PreconditionFailed", w.main.put_object, Bucket=name, Key="k",
                         Body=b"2", IfNoneMatch="*")
        assert answer["Error"]["Condition"] == "If-None-Match"
        refused(412, "PreconditionFailed", w.main.put_object, Bucket=name, Key="k", Body=b"2",
                IfMatch='"no"')
        refused(404, "NoSuchKey", w.main.put_object, Bucket=name, Key="n", Body=b"2", IfMatch=etag)
        new = w.main.put_object(Bucket=name, Key="k", Body=b"2", IfMatch=etag)["ETag"]
        w.main.put_object(Bucket=name, Key="k", Body=b"2", IfMatch=new.strip('"'))
        refused(412, "PreconditionFailed", w.main.delete_object, Bucket=name, Key="k", IfMatch=etag)
        w.main.delete_object(Bucket=name, Key="k", IfMatch=new)
        refused(404, "NoSuchKey", w.main.get_object, Bucket=name, Key="k")
        w.main.put_object(Bucket=name, Key="k", Body=b"3", IfNoneMatch="*")


@case
def one_of_many_creates(w):
    name, won = w.bucket(), []

    def create(index):
        try:
            w.client("main").put_object(Bucket=name, Key="k", Body=str(index), IfNoneMatch="*")
            won.append(index)
        except ClientError as error:
            assert error.response["Error"]["Code"] in ("PreconditionFailed",
                                                       "ConditionalRequestConflict")

    threads = [threading.Thread(target=create, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(won) == 1, won
    assert w.main.get_object(Bucket=name, Key="k")["Body"].read() == str(won[0]).encode()


@case
def digests(w):
    name = w.bucket()
    good = base64.b64encode(hashlib.md5(b"bar").digest()).decode()
    w.main.put_object(Bucket=name, Key="k", Body=b"bar", ContentMD5=good)
    bad = base64.b64encode(hashlib.md5(b"baz").digest()).decode()
    refused(400, "BadDigest", w.main.put_object, Bucket=name, Key="k", Body=b"bar", ContentMD5=bad)
    refused(400, "InvalidDigest", w.main.put_object, Bucket=name, Key="k", Body=b"bar",
            ContentMD5="YWJyYWNhZGFicmE=")
    for kind, value in (("SHA256", hashlib.sha256(b"bar").digest()),
                        ("SHA1", hashlib.sha1(b"bar").digest()),
                        ("CRC32", zlib.crc32(b"bar").to_bytes(4, "big"))):
        text = base64.b64encode(value).decode()
        answer = w.main.put_object(Bucket=name, Key=kind, Body=b"bar", **{"Checksum" + kind: text})
        assert answer["Checksum" + kind] == text
        head = w.main.head_object(Bucket=name, Key=kind, ChecksumMode="ENABLED")
        assert head["Checksum" + kind] == text and head["ChecksumType"] == "FULL_OBJECT"
        wrong = base64.b64encode(bytes(len(value))).decode()
        refused(400, "BadDigest", w.main.put_object, Bucket=name, Key="k", Body=b"bar",
                **{"Checksum" + kind: wrong})
        attributes = w.main.get_object_attributes(Bucket=name, Key=kind,
                                                  ObjectAttributes=["Checksum", "ETag",
                                                                    "ObjectSize", "StorageClass"])
        assert attributes["Checksum"]["Checksum" + kind] == text
        assert attributes["ObjectSize"] == 3 and attributes["StorageClass"] == "STANDARD"
    listed = w.main.list_objects_v2(Bucket=name)["Contents"]
    assert all(entry["ChecksumAlgorithm"] for entry in listed)


@case
def deletes(w):
    name = w.filled(["a", "b", "c"])
    assert w.main.delete_object(Bucket=name, Key="none")["ResponseMetadata"]["HTTPStatusCode"] == 204
    answer = w.main.delete_objects(Bucket=name, Delete={"Objects": [{"Key": "a"}, {"Key": "none"}]})
    assert {d["Key"] for d in answer["Deleted"]} == {"a", "none"} and "Errors" not in answer
    answer = w.main.delete_objects(Bucket=name, Delete={"Objects": [{"Key": "b"}], "Quiet": True})
    assert "Deleted" not in answer
    assert keys(w.main.list_objects(Bucket=name)) == ["c"]
    refused(400, "MalformedXML", w.main.delete_objects, Bucket=name,
            Delete={"Objects": [{"Key": f"k{i}"} for i in range(1001)]})
    answer = w.main.delete_objects(Bucket=name,
                                   Delete={"Objects": [{"Key": f"k{i}"} for i in range(1000)]})
    assert len(answer["Deleted"]) == 1000


# Lists.


@case
def lists(w):
    name = w.filled(["boo/bar", "boo/baz/xyzzy", "cquux/thud", "cquux/bla", "asdf", "foo"])
    v1 = w.main.list_objects(Bucket=name, Delimiter="/")
    assert keys(v1) == ["asdf", "foo"] and prefixes(v1) == ["boo/", "cquux/"]
    v2 = w.main.list_objects_v2(Bucket=name, Delimiter="/")
    assert v2["KeyCount"] == 4
    marker, seen = "", []
    while True:
        page = w.main.list_objects(Bucket=name, Delimiter="/", Marker=marker, MaxKeys=1)
        seen += keys(page) + prefixes(page)
        if not page["IsTruncated"]:
            break
        marker = page["NextMarker"]
    assert seen == ["asdf", "boo/", "cquux/", "foo"], seen
    page = w.main.list_objects(Bucket=name, Prefix="boo/", Delimiter="/")
    assert keys(page) == ["boo/bar"] and prefixes(page) == ["boo/baz/"]
    assert w.main.list_objects_v2(Bucket=name, MaxKeys=0)["KeyCount"] == 0
    token, seen = None, []
    while True:
        more = {"ContinuationToken": token} if token else {}
        page = w.main.list_objects_v2(Bucket=name, MaxKeys=2, **more)
        seen += keys(page)
        if not page["IsTruncated"]:
            break
        token = page["NextContinuationToken"]
    assert seen == sorted(seen) and len(seen) == 6
    assert keys(w.main.list_objects_v2(Bucket=name, StartAfter="cquux/bla")) == ["cquux/thud", "foo"]
    owner = w.main.list_objects_v2(Bucket=name, FetchOwner=True)["Contents"][0]["Owner"]
    assert owner == {"ID": "main", "DisplayName": "main of tests"}
    assert "Owner" not in w.main.list_objects_v2(Bucket=name)["Contents"][0]


@case
def list_encoding(w):
    names = ["foo+1/bar", "foo/bar/xyzzy", "quux ab/thud", "asdf+b"]
    name = w.filled(names)
    page = w.main.list_objects(Bucket=name, Delimiter="/", EncodingType="url")
    assert keys(page) == ["asdf%2Bb"] and prefixes(page) == ["foo%2B1/", "foo/", "quux%20ab/"]


@case
def list_thousands(w):
    name = w.bucket()
    for i in range(1205):
        w.main.put_object(Bucket=name, Key=f"{i:05d}", Body=b"")
    page = w.main.list_objects_v2(Bucket=name)
    assert page["KeyCount"] == 1000 and page["IsTruncated"]
    assert sum(len(p["Contents"]) for p in
               w.main.get_paginator("list_objects_v2").paginate(Bucket=name)) == 1205
    assert sum(len(p["Contents"]) for p in w.main.get_paginator("list_objects").paginate(
        Bucket=name, PaginationConfig={"PageSize": 100})) == 1205


# Versions.


@case
def versions(w):
    name = w.bucket()
    assert "Status" not in w.main.get_bucket_versioning(Bucket=name)
    w.main.put_object(Bucket=name, Key="k", Body=b"null")
    w.main.put_bucket_versioning(Bucket=name, VersioningConfiguration={"Status": "Enabled"})
    ids = [w.main.put_object(Bucket=name, Key="k", Body=f"v{i}")["VersionId"] for i in range(3)]
    for i, version in enumerate(ids):
        got = w.main.get_object(Bucket=name, Key="k", VersionId=version)
        assert got["Body"].read() == f"v{i}".encode() and got["VersionId"] == version
    assert w.main.get_object(Bucket=name, Key="k", VersionId="null")["Body"].read() == b"null"
    marker = w.main.delete_object(Bucket=name, Key="k")
    assert marker["DeleteMarker"]
    answer = refused(404, "NoSuchKey", w.main.get_object, Bucket=name, Key="k")
    assert answer["ResponseMetadata"]["HTTPHeaders"]["x-amz-delete-marker"] == "true"
    refused(405, "MethodNotAllowed", w.main.get_object, Bucket=name, Key="k",
            VersionId=marker["VersionId"])
    listed = w.main.list_object_versions(Bucket=name)
    assert [v["VersionId"] for v in listed["Versions"]] == ids[::-1] + ["null"]
    assert listed["DeleteMarkers"][0]["IsLatest"]
    assert "Contents" not in w.main.list_objects_v2(Bucket=name)
    gone = w.main.delete_object(Bucket=name, Key="k", VersionId=marker["VersionId"])
    assert gone["DeleteMarker"] and gone["VersionId"] == marker["VersionId"]
    assert w.main.get_object(Bucket=name, Key="k")["Body"].read() == b"v2"
    w.main.delete_object(Bucket=name, Key="k", VersionId=ids[2])
    assert w.main.get_object(Bucket=name, Key="k")["Body"].read() == b"v1"
    seen, more = [], {}
    while True:
        page = w.main.list_object_versions(Bucket=name, MaxKeys=1, **more)
        seen += [v["VersionId"] for v in page["Versions"]]
        if not page["IsTruncated"]:
            break
        more = {"KeyMarker": page["NextKeyMarker"], "VersionIdMarker": page["NextVersionIdMarker"]}
    assert seen == [ids[1], ids[0], "null"], seen
    w.main.put_bucket_versioning(Bucket=name, VersioningConfiguration={"Status": "Suspended"})
    w.main.put_object(Bucket=name, Key="k", Body=b"new null")
    assert w.main.get_object(Bucket=name, Key="k", VersionId="null")["Body"].read() == b"new null"
    assert len(w.main.list_object_versions(Bucket=name)["Versions"]) == 3
    refused(404, "NoSuchVersion", w.main.get_object, Bucket=name, Key="k",
            VersionId="0123456789abcdef")
    answer = w.main.delete_objects(Bucket=name, Delete={"Objects": [
        {"Key": "k", "VersionId": v} for v in (ids[0], ids[1], "null")]})
    assert len(answer["Deleted"]) == 3
    w.main.delete_bucket(Bucket=name)


@case
def copies(w):
    one, two = w.bucket(), w.bucket()
    body = payload(700000)
    w.main.put_object(Bucket=one, Key="a b+ä", Body=body, ContentType="text/x", Metadata={"m": "1"},
                      Tagging="t=1")
    w.main.copy_object(Bucket=two, Key="c", CopySource={"Bucket": one, "Key": "a b+ä"})
    got = w.main.get_object(Bucket=two, Key="c")
    assert got["Body"].read() == body and got["ContentType"] == "text/x"
    assert got["Metadata"] == {"m": "1"} and got["TagCount"] == 1
    w.main.copy_object(Bucket=two, Key="d", CopySource=f"{two}/c", MetadataDirective="REPLACE",
                       Metadata={"n": "2"}, ContentType="text/y", TaggingDirective="REPLACE",
                       Tagging="u=2&v=3")
    got = w.main.head_object(Bucket=two, Key="d")
    assert got["Metadata"] == {"n": "2"} and got["ContentType"] == "text/y"
    assert len(w.main.get_object_tagging(Bucket=two, Key="d")["TagSet"]) == 2
    refused(400, "InvalidRequest", w.main.copy_object, Bucket=two, Key="c", CopySource=f"{two}/c")
    w.main.copy_object(Bucket=two, Key="c", CopySource=f"{two}/c", MetadataDirective="REPLACE",
                       Metadata={"x": "y"})
    refused(404, "NoSuchKey", w.main.copy_object, Bucket=two, Key="e", CopySource=f"{two}/none")
    refused(404, "NoSuchBucket", w.main.copy_object, Bucket=two, Key="e", CopySource="none-such/c")
    refused(403, "AccessDenied", w.alt.copy_object, Bucket=w.bucket(w.alt), Key="e",
            CopySource=f"{two}/c")
    etag = w.main.head_object(Bucket=two, Key="c")["ETag"]
    w.main.copy_object(Bucket=two, Key="f", CopySource=f"{two}/c", CopySourceIfMatch=etag)
    refused(412, "PreconditionFailed", w.main.copy_object, Bucket=two, Key="f",
            CopySource=f"{two}/c", CopySourceIfNoneMatch=etag)
    w.main.put_bucket_versioning(Bucket=two, VersioningConfiguration={"Status": "Enabled"})
    v1 = w.main.put_object(Bucket=two, Key="v", Body=b"1")["VersionId"]
    w.main.put_object(Bucket=two, Key="v", Body=b"2")
    answer = w.main.copy_object(Bucket=two, Key="w", CopySource={"Bucket": two, "Key": "v",
                                                                 "VersionId": v1})
    assert answer["CopySourceVersionId"] == v1 and answer["VersionId"]
    assert w.main.get_object(Bucket=two, Key="w")["Body"].read() == b"1"


# Multipart uploads.


@case
def multipart(w):
    name, bodies = w.bucket(), [payload(5 * MIB, 1), payload(5 * MIB + 17, 2), payload(3, 3)]
    upload, parts = upload_parts(w.main, name, "k", bodies, ContentType="text/m",
                                 Metadata={"a": "b"}, Tagging="x=y")
    assert [u["UploadId"] for u in w.main.list_multipart_uploads(Bucket=name)["Uploads"]] == [upload]
    page = w.main.list_parts(Bucket=name, Key="k", UploadId=upload, MaxParts=2)
    assert [p["Size"] for p in page["Parts"]] == [5 * MIB, 5 * MIB + 17] and page["IsTruncated"]
    page = w.main.list_parts(Bucket=name, Key="k", UploadId=upload,
                             PartNumberMarker=page["NextPartNumberMarker"])
    assert [p["PartNumber"] for p in page["Parts"]] == [3]
    refused(404, "NoSuchKey", w.main.get_object, Bucket=name, Key="k")
    done = w.main.complete_multipart_upload(Bucket=name, Key="k", UploadId=upload,
                                            MultipartUpload={"Parts": parts})
    digest = hashlib.md5(b"".join(hashlib.md5(b).digest() for b in bodies)).hexdigest()
    assert done["ETag"] == f'"{digest}-3"', done["ETag"]
    whole = b"".join(bodies)
    got = w.main.get_object(Bucket=name, Key="k")
    assert got["Body"].read() == whole and got["ContentType"] == "text/m"
    assert got["Metadata"] == {"a": "b"} and got["TagCount"] == 1
    at = 5 * MIB
    assert w.main.get_object(Bucket=name, Key="k", Range=f"bytes={at - 5}-{at + 4}")["Body"].read() \
        == whole[at - 5:at + 5]
    for number, body in enumerate(bodies, 1):
        got = w.main.get_object(Bucket=name, Key="k", PartNumber=number)
        assert got["Body"].read() == body and got["PartsCount"] == 3
    refused(400, "InvalidPart", w.main.get_object, Bucket=name, Key="k", PartNumber=4)
    # The same completion again is answered the same.
    again = w.main.complete_multipart_upload(Bucket=name, Key="k", UploadId=upload,
                                             MultipartUpload={"Parts": parts})
    assert again["ETag"] == done["ETag"]
    refused(404, "NoSuchUpload", w.main.abort_multipart_upload, Bucket=name, Key="k",
            UploadId=upload)
    found = w.main.get_object_attributes(Bucket=name, Key="k", ObjectAttributes=["ObjectParts"])
    assert found["ObjectParts"]["TotalPartsCount"] == 3


@case
def multipart_refusals(w):
    name = w.bucket()
    upload, parts = upload_parts(w.main, name, "k", [b"a" * 10, b"b" * 10])
    complete = w.main.complete_multipart_upload
    refused(400, "EntityTooSmall", complete, Bucket=name, Key="k", UploadId=upload,
            MultipartUpload={"Parts": parts})
    refused(400, "InvalidPartOrder", complete, Bucket=name, Key="k", UploadId=upload,
            MultipartUpload={"Parts": parts[::-1]})
    refused(400, "InvalidPart", complete, Bucket=name, Key="k", UploadId=upload,
            MultipartUpload={"Parts": [{"PartNumber": 9, "ETag": parts[0]["ETag"]}]})
    refused(400, "InvalidPart", complete, Bucket=name, Key="k", UploadId=upload,
            MultipartUpload={"Parts": [{"PartNumber": 1, "ETag": '"' + "0" * 32 + '"'}]})
    refused(400, "MalformedXML", complete, Bucket=name, Key="k", UploadId=upload)
    refused(404, "NoSuchUpload", complete, Bucket=name, Key="k", UploadId="56788",
            MultipartUpload={"Parts": parts})
    refused(404, "NoSuchUpload", w.main.upload_part, Bucket=name, Key="k", UploadId="0" * 15 + "7",
            PartNumber=1, Body=b"")
    refused(400, "InvalidArgument", w.main.upload_part, Bucket=name, Key="k", UploadId=upload,
            PartNumber=10001, Body=b"")
    w.main.abort_multipart_upload(Bucket=name, Key="k", UploadId=upload)
    refused(404, "NoSuchUpload", w.main.list_parts, Bucket=name, Key="k", UploadId=upload)
    upload, parts = upload_parts(w.main, name, "one", [b"small"])
    complete(Bucket=name, Key="one", UploadId=upload, MultipartUpload={"Parts": parts})
    assert w.main.get_object(Bucket=name, Key="one")["Body"].read() == b"small"
    upload, parts = upload_parts(w.main, name, "one", [b"x"])
    refused(412, "PreconditionFailed", complete, Bucket=name, Key="one", UploadId=upload,
            MultipartUpload={"Parts": parts}, IfNoneMatch="*")


@case
def multipart_copy(w):
    name, body = w.bucket(), payload(11 * MIB)
    w.main.put_object(Bucket=name, Key="src", Body=body)
    upload = w.main.create_multipart_upload(Bucket=name, Key="k")["UploadId"]
    parts = []
    for number, (first, last) in enumerate(((0, 6 * MIB - 1), (6 * MIB, 11 * MIB - 1)), 1):
        answer = w.main.upload_part_copy(Bucket=name, Key="k", UploadId=upload, PartNumber=number,
                                         CopySource=f"{name}/src",
                                         CopySourceRange=f"bytes={first}-{last}")
        parts.append({"PartNumber": number, "ETag": answer["CopyPartResult"]["ETag"]})
    refused(416, "InvalidRange", w.main.upload_part_copy, Bucket=name, Key="k", UploadId=upload,
            PartNumber=3, CopySource=f"{name}/src", CopySourceRange=f"bytes=0-{11 * MIB}")
    for bad in ("0-2", "bytes=0", "bytes=hello-world", "bytes=0-bar", "bytes=0-2,3-5"):
        refused(400, "InvalidArgument", w.main.upload_part_copy, Bucket=name, Key="k",
                UploadId=upload, PartNumber=3, CopySource=f"{name}/src", CopySourceRange=bad)
    w.main.complete_multipart_upload(Bucket=name, Key="k", UploadId=upload,
                                     MultipartUpload={"Parts": parts})
    assert w.main.get_object(Bucket=name, Key="k")["Body"].read() == body


@case
def multipart_checksums(w):
    name, bodies = w.bucket(), [payload(5 * MIB, 4), payload(100, 5)]
    for kind, type_ in (("SHA256", "COMPOSITE"), ("CRC32", "COMPOSITE"), ("CRC32", "FULL_OBJECT")):
        upload = w.main.create_multipart_upload(Bucket=name, Key="k", ChecksumAlgorithm=kind,
                                                ChecksumType=type_)["UploadId"]
        parts, values = [], []
        for number, body in enumerate(bodies, 1):
            answer = w.main.upload_part(Bucket=name, Key="k", UploadId=upload, PartNumber=number,
                                        Body=body, ChecksumAlgorithm=kind)
            values.append(base64.b64decode(answer["Checksum" + kind]))
            parts.append({"PartNumber": number, "ETag": answer["ETag"],
                          "Checksum" + kind: answer["Checksum" + kind]})
        done = w.main.complete_multipart_upload(Bucket=name, Key="k", UploadId=upload,
                                                MultipartUpload={"Parts": parts})
        if type_ == "FULL_OBJECT":
            want = base64.b64encode(zlib.crc32(b"".join(bodies)).to_bytes(4, "big")).decode()
        elif kind == "CRC32":
            want = base64.b64encode(zlib.crc32(b"".join(values)).to_bytes(4, "big")).decode() + "-2"
        else:
            want = base64.b64encode(hashlib.sha256(b"".join(values)).digest()).decode() + "-2"
        assert done["Checksum" + kind] == want, (kind, type_, done["Checksum" + kind], want)
        head = w.main.head_object(Bucket=name, Key="k", ChecksumMode="ENABLED")
        assert head["Checksum" + kind] == want and head["ChecksumType"] == type_


@case
def managed_transfer(w):
    name, body = w.bucket(), payload(21 * MIB, 9)
    w.main.upload_fileobj(io.BytesIO(body), name, "k")
    out = io.BytesIO()
    w.main.download_fileobj(name, "k", out)
    assert out.getvalue() == body
    w.main.copy({"Bucket": name, "Key": "k"}, name, "l")
    assert w.main.head_object(Bucket=name, Key="l")["ContentLength"] == len(body)


# Tags, lists of who may, policies.


@case
def tagging(w):
    name = w.filled(["k"])
    tags = [{"Key": f"k{i}", "Value": f"v {i}&="} for i in range(10)]
    w.main.put_object_tagging(Bucket=name, Key="k", Tagging={"TagSet": tags})
    assert w.main.get_object_tagging(Bucket=name, Key="k")["TagSet"] == tags
    assert w.main.get_object(Bucket=name, Key="k")["TagCount"] == 10
    refused(400, "InvalidTag", w.main.put_object_tagging, Bucket=name, Key="k",
            Tagging={"TagSet": tags + [{"Key": "x", "Value": "y"}]})
    refused(400, "InvalidTag", w.main.put_object_tagging, Bucket=name, Key="k",
            Tagging={"TagSet": [{"Key": "k" * 129, "Value": ""}]})
    refused(400, "InvalidTag", w.main.put_object_tagging, Bucket=name, Key="k",
            Tagging={"TagSet": [{"Key": "k", "Value": "v" * 257}]})
    longest = [{"Key": f"{i}".ljust(128, "k"), "Value": "v" * 256} for i in range(10)]
    w.main.put_object_tagging(Bucket=name, Key="k", Tagging={"TagSet": longest})
    assert w.main.get_object_tagging(Bucket=name, Key="k")["TagSet"] == longest
    w.main.delete_object_tagging(Bucket=name, Key="k")
    assert w.main.get_object_tagging(Bucket=name, Key="k")["TagSet"] == []
    refused(404, "NoSuchTagSet", w.main.get_bucket_tagging, Bucket=name)
    w.main.put_bucket_tagging(Bucket=name, Tagging={"TagSet": tags})
    assert w.main.get_bucket_tagging(Bucket=name)["TagSet"] == tags
    w.main.delete_bucket_tagging(Bucket=name)
    refused(404, "NoSuchTagSet", w.main.get_bucket_tagging, Bucket=name)


@case
def access_lists(w):
    name = w.filled(["k"])
    own = {"Grantee": {"ID": "main", "DisplayName": "main of tests", "Type": "CanonicalUser"},
           "Permission": "FULL_CONTROL"}
    everyone = {"Grantee": {"Type": "Group",
                            "URI": "http://acs.amazonaws.com/groups/global/AllUsers"},
                "Permission": "READ"}
    assert w.main.get_bucket_acl(Bucket=name)["Grants"] == [own]
    assert w.main.get_object_acl(Bucket=name, Key="k")["Owner"]["ID"] == "main"
    w.main.put_object_acl(Bucket=name, Key="k", ACL="public-read")
    assert w.main.get_object_acl(Bucket=name, Key="k")["Grants"] == [own, everyone]
    assert w.nobody.get_object(Bucket=name, Key="k")["Body"].read() == b"k"
    refused(403, "AccessDenied", w.nobody.get_object, Bucket=name, Key="none")
    w.main.put_bucket_acl(Bucket=name, ACL="public-read")
    assert keys(w.nobody.list_objects(Bucket=name)) == ["k"]
    refused(404, "NoSuchKey", w.nobody.get_object, Bucket=name, Key="none")
    refused(403, "AccessDenied", w.nobody.put_object, Bucket=name, Key="n", Body=b"")
    w.main.put_bucket_acl(Bucket=name, ACL="public-read-write")
    w.nobody.put_object(Bucket=name, Key="n", Body=b"")
    w.main.put_bucket_acl(Bucket=name, ACL="private")
    refused(403, "AccessDenied", w.alt.list_objects, Bucket=name)
    w.main.put_bucket_acl(Bucket=name, GrantRead='id="alt"', GrantWrite='emailAddress="alt@example.com"')
    assert keys(w.alt.list_objects(Bucket=name)) == ["k", "n"]
    w.alt.put_object(Bucket=name, Key="of-alt", Body=b"x")
    assert w.main.get_object_acl(Bucket=name, Key="of-alt")["Owner"]["ID"] == "alt"
    refused(403, "AccessDenied", w.alt.get_bucket_acl, Bucket=name)
    refused(400, "InvalidArgument", w.main.put_bucket_acl, Bucket=name, GrantRead='id="nobody"')
    refused(400, "UnresolvableGrantByEmailAddress", w.main.put_bucket_acl, Bucket=name,
            GrantRead='emailAddress="no@example.com"')
    refused(400, "InvalidArgument", w.main.put_bucket_acl, Bucket=name, ACL="public-ready")
    policy = {"Owner": {"ID": "main"}, "Grants": [own, {
        "Grantee": {"ID": "alt", "Type": "CanonicalUser"}, "Permission": "READ"}]}
    w.main.put_object_acl(Bucket=name, Key="k", AccessControlPolicy=policy)
    w.alt.get_object(Bucket=name, Key="k")
    refused(403, "AccessDenied", w.alt.get_object_acl, Bucket=name, Key="k")


@case
def policies(w):
    name = w.filled(["k", "public/k"])
    refused(404, "NoSuchBucketPolicy", w.main.get_bucket_policy, Bucket=name)
    text = policy_of(statement(name, "s3:ListBucket"))
    w.main.put_bucket_policy(Bucket=name, Policy=text)
    assert json.loads(w.main.get_bucket_policy(Bucket=name)["Policy"]) == json.loads(text)
    assert w.main.get_bucket_policy_status(Bucket=name)["PolicyStatus"]["IsPublic"]
    assert len(keys(w.alt.list_objects_v2(Bucket=name))) == 2
    refused(403, "AccessDenied", w.alt.get_object, Bucket=name, Key="k")
    w.main.put_bucket_policy(Bucket=name, Policy=policy_of(
        statement(name, ["s3:Get*"], what="/public/*", principal={"AWS": "arn:aws:iam:::user/alt"})))
    w.alt.get_object(Bucket=name, Key="public/k")
    refused(403, "AccessDenied", w.alt.get_object, Bucket=name, Key="k")
    refused(403, "AccessDenied", w.nobody.get_object, Bucket=name, Key="public/k")
    w.main.put_bucket_policy(Bucket=name, Policy=policy_of(
        statement(name, "s3:GetObject", effect="Deny", what="/k")))
    refused(403, "AccessDenied", w.main.get_object, Bucket=name, Key="k")
    w.main.get_object(Bucket=name, Key="public/k")
    w.main.put_bucket_policy(Bucket=name, Policy=policy_of(
        statement(name, "s3:ListBucket", Condition={"StringEquals": {"s3:prefix": "public/"}})))
    assert keys(w.alt.list_objects(Bucket=name, Prefix="public/")) == ["public/k"]
    refused(403, "AccessDenied", w.alt.list_objects, Bucket=name)
    w.main.put_bucket_policy(Bucket=name, Policy=policy_of(
        statement(name, "s3:GetObject", what="/*",
                  Condition={"StringEquals": {"s3:ExistingObjectTag/open": "yes"}})))
    refused(403, "AccessDenied", w.alt.get_object, Bucket=name, Key="k")
    w.main.put_object_tagging(Bucket=name, Key="k",
                              Tagging={"TagSet": [{"Key": "open", "Value": "yes"}]})
    w.alt.get_object(Bucket=name, Key="k")
    w.main.put_bucket_policy(Bucket=name, Policy=policy_of(
        statement(name, "s3:GetObject", what="/*",
                  Condition={"IpAddress": {"aws:SourceIp": "127.0.0.0/8"}}),
        statement(name, "s3:PutObject", what="/*",
                  Condition={"Bool": {"aws:SecureTransport": "true"}})))
    w.nobody.get_object(Bucket=name, Key="k")
    refused(403, "AccessDenied", w.nobody.put_object, Bucket=name, Key="k", Body=b"")
    for bad in ("", "{", "{}", policy_of(statement("other", "s3:GetObject")),
                policy_of(statement(name, "ec2:Run")), policy_of(statement(name, "s3:Get*", "Maybe"))):
        refused(400, "MalformedPolicy", w.main.put_bucket_policy, Bucket=name, Policy=bad)
    w.main.delete_bucket_policy(Bucket=name)
    refused(403, "AccessDenied", w.nobody.get_object, Bucket=name, Key="k")


@case
def public_access_block(w):
    name = w.bucket()
    refused(404, "NoSuchPublicAccessBlockConfiguration", w.main.get_public_access_block, Bucket=name)
    block = {"BlockPublicAcls": True, "IgnorePublicAcls": True, "BlockPublicPolicy": True,
             "RestrictPublicBuckets": False}
    w.main.put_object(Bucket=name, Key="k", Body=b"x", ACL="public-read")
    w.nobody.get_object(Bucket=name, Key="k")
    w.main.put_public_access_block(Bucket=name, PublicAccessBlockConfiguration=block)
    assert w.main.get_public_access_block(Bucket=name)["PublicAccessBlockConfiguration"] == block
    refused(403, "AccessDenied", w.nobody.get_object, Bucket=name, Key="k")
    refused(403, "AccessDenied", w.main.put_bucket_acl, Bucket=name, ACL="public-read")
    refused(403, "AccessDenied", w.main.put_bucket_policy, Bucket=name,
            Policy=policy_of(statement(name, "s3:GetObject", what="/*")))
    refused(403, "AccessDenied", w.main.put_object, Bucket=name, Key="l", Body=b"", ACL="public-read")
    w.main.delete_public_access_block(Bucket=name)
    w.nobody.get_object(Bucket=name, Key="k")


@case
def ownership(w):
    name = w.bucket()
    refused(404, "OwnershipControlsNotFoundError", w.main.get_bucket_ownership_controls, Bucket=name)
    w.main.put_bucket_ownership_controls(Bucket=name, OwnershipControls={
        "Rules": [{"ObjectOwnership": "BucketOwnerEnforced"}]})
    refused(400, "AccessControlListNotSupported", w.main.put_bucket_acl, Bucket=name,
            ACL="public-read")
    w.main.delete_bucket_ownership_controls(Bucket=name)
    other = w.bucket(ObjectOwnership="ObjectWriter")
    assert w.main.get_bucket_ownership_controls(Bucket=other)["OwnershipControls"]["Rules"] == [
        {"ObjectOwnership": "ObjectWriter"}]


# CORS, lifecycle, lock.


@case
def cors(w):
    name = w.bucket(ACL="public-read")
    refused(404, "NoSuchCORSConfiguration", w.main.get_bucket_cors, Bucket=name)
    rules = [{"AllowedMethods": ["GET"], "AllowedOrigins": ["*suffix"]},
             {"AllowedMethods": ["PUT"], "AllowedOrigins": ["*"], "AllowedHeaders": ["x-amz-meta-*"],
              "ExposeHeaders": ["ETag"], "MaxAgeSeconds": 42}]
    w.main.put_bucket_cors(Bucket=name, CORSConfiguration={"CORSRules": rules})
    assert w.main.get_bucket_cors(Bucket=name)["CORSRules"] == rules
    got = w.request("GET", "/" + name, headers={"Origin": "foo.suffix"})
    assert got.status == 200
    assert got.headers["Access-Control-Allow-Origin"] == "foo.suffix"
    assert got.headers["Access-Control-Allow-Methods"] == "GET"
    got = w.request("GET", "/" + name, headers={"Origin": "foo.other"})
    assert got.status == 200 and got.headers["Access-Control-Allow-Origin"] is None
    ask = {"Origin": "x.y", "Access-Control-Request-Method": "PUT"}
    got = w.request("OPTIONS", f"/{name}/k", headers=ask)
    assert got.status == 200 and got.headers["Access-Control-Allow-Origin"] == "*"
    assert got.headers["Access-Control-Max-Age"] == "42"
    allowed = dict(ask, **{"Access-Control-Request-Headers": "x-amz-meta-a, X-Amz-Meta-B"})
    assert w.request("OPTIONS", f"/{name}/k", headers=allowed).status == 200
    other = dict(ask, **{"Access-Control-Request-Headers": "content-type"})
    assert w.request("OPTIONS", f"/{name}/k", headers=other).status == 403
    assert w.request("OPTIONS", f"/{name}/k", headers={"Origin": "a"}).status == 400
    assert w.request("OPTIONS", f"/{name}/k").status == 400
    assert w.request("OPTIONS", f"/{name}/k", headers=dict(
        ask, **{"Access-Control-Request-Method": "DELETE"})).status == 403
    w.main.delete_bucket_cors(Bucket=name)
    refused(404, "NoSuchCORSConfiguration", w.main.get_bucket_cors, Bucket=name)


def set_lifecycle(w, name, *rules):
    w.main.put_bucket_lifecycle_configuration(Bucket=name,
                                              LifecycleConfiguration={"Rules": list(rules)})


@case
def lifecycle_configuration(w):
    name = w.bucket()
    refused(404, "NoSuchLifecycleConfiguration", w.main.get_bucket_lifecycle_configuration,
            Bucket=name)
    rule = {"ID": "a", "Status": "Enabled", "Filter": {"Prefix": "x/"}, "Expiration": {"Days": 1}}
    full = [rule, {"ID": "b", "Status": "Disabled", "Filter": {"And": {
        "Prefix": "p", "Tags": [{"Key": "t", "Value": "v"}], "ObjectSizeGreaterThan": 5}},
        "NoncurrentVersionExpiration": {"NoncurrentDays": 2, "NewerNoncurrentVersions": 3},
        "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": 4},
        "Transitions": [{"Days": 5, "StorageClass": "GLACIER"}]}]
    set_lifecycle(w, name, *full)
    assert w.main.get_bucket_lifecycle_configuration(Bucket=name)["Rules"] == full
    without = {k: v for k, v in rule.items() if k != "ID"}
    set_lifecycle(w, name, without, dict(without, Filter={"Prefix": "y/"}))
    found = w.main.get_bucket_lifecycle_configuration(Bucket=name)["Rules"]
    assert all(r["ID"] for r in found) and found[0]["ID"] != found[1]["ID"]
    for code, bad in (("InvalidArgument", dict(rule, ID="x" * 256)),
                      ("InvalidArgument", dict(rule, Expiration={"Days": 0})),
                      ("MalformedXML", dict(rule, Status="enabled")),
                      ("InvalidArgument", dict(rule, Expiration={
                          "Date": datetime.datetime(2030, 1, 1, 5)}))):
        refused(400, code, set_lifecycle, w, name, bad)
    refused(400, "InvalidArgument", set_lifecycle, w, name, rule, dict(rule))
    set_lifecycle(w, name, rule)
    answer = w.main.put_object(Bucket=name, Key="x/k", Body=b"")
    assert 'rule-id="a"' in answer["Expiration"], answer.get("Expiration")
    assert 'rule-id="a"' in w.main.head_object(Bucket=name, Key="x/k")["Expiration"]
    assert "Expiration" not in w.main.put_object(Bucket=name, Key="k", Body=b"")
    w.main.delete_bucket_lifecycle(Bucket=name)


@case
def lifecycle_runs(w):
    """A day is two seconds in this server."""
    plain, kept, parts = w.filled(["x/a", "x/b", "keep"]), w.bucket(), w.bucket()
    set_lifecycle(w, plain, {"Status": "Enabled", "Filter": {"Prefix": "x/"},
                             "Expiration": {"Days": 1}})
    w.main.put_bucket_versioning(Bucket=kept, VersioningConfiguration={"Status": "Enabled"})
    ids = [w.main.put_object(Bucket=kept, Key="k", Body=str(i))["VersionId"] for i in range(4)]
    set_lifecycle(w, kept, {"Status": "Enabled", "Filter": {"Prefix": ""},
                            "NoncurrentVersionExpiration": {"NoncurrentDays": 1,
                                                            "NewerNoncurrentVersions": 1}})
    w.main.create_multipart_upload(Bucket=parts, Key="k")
    set_lifecycle(w, parts, {"Status": "Enabled", "Filter": {"Prefix": ""},
                             "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": 1}})
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        done = (keys(w.main.list_objects(Bucket=plain)) == ["keep"],
                [v["VersionId"] for v in w.main.list_object_versions(Bucket=kept)["Versions"]]
                == [ids[3], ids[2]],
                "Uploads" not in w.main.list_multipart_uploads(Bucket=parts))
        if all(done):
            return
        time.sleep(0.5)
    raise AssertionError(done)


@case
def object_lock(w):
    plain, name = w.bucket(), w.bucket(ObjectLockEnabledForBucket=True)
    config = {"ObjectLockEnabled": "Enabled",
              "Rule": {"DefaultRetention": {"Mode": "GOVERNANCE", "Days": 1}}}
    put = w.main.put_object_lock_configuration
    refused(409, "InvalidBucketState", put, Bucket=plain, ObjectLockConfiguration=config)
    refused(404, "ObjectLockConfigurationNotFoundError", w.main.get_object_lock_configuration,
            Bucket=plain)
    assert w.main.get_bucket_versioning(Bucket=name)["Status"] == "Enabled"
    refused(409, "InvalidBucketState", w.main.put_bucket_versioning, Bucket=name,
            VersioningConfiguration={"Status": "Suspended"})
    put(Bucket=name, ObjectLockConfiguration=config)
    assert w.main.get_object_lock_configuration(Bucket=name)["ObjectLockConfiguration"] == config
    for code, rule in (("InvalidRetentionPeriod", {"Mode": "GOVERNANCE", "Days": 0}),
                       ("MalformedXML", {"Mode": "GOVERNANCE", "Days": 1, "Years": 1}),
                       ("MalformedXML", {"Mode": "abc", "Years": 1})):
        refused(400, code, put, Bucket=name, ObjectLockConfiguration={
            "ObjectLockEnabled": "Enabled", "Rule": {"DefaultRetention": rule}})
    version = w.main.put_object(Bucket=name, Key="k", Body=b"x")["VersionId"]
    head = w.main.head_object(Bucket=name, Key="k")
    assert head["ObjectLockMode"] == "GOVERNANCE" and head["ObjectLockRetainUntilDate"]
    refused(403, "AccessDenied", w.main.delete_object, Bucket=name, Key="k", VersionId=version)
    failed = w.main.delete_objects(Bucket=name, Delete={"Objects": [
        {"Key": "k", "VersionId": version}]})
    assert failed["Errors"][0]["Code"] == "AccessDenied"
    until = datetime.datetime.utcnow().replace(microsecond=0) + datetime.timedelta(days=2)
    w.main.put_object_retention(Bucket=name, Key="k", Retention={
        "Mode": "GOVERNANCE", "RetainUntilDate": until})
    sooner = until - datetime.timedelta(days=1)
    refused(403, "AccessDenied", w.main.put_object_retention, Bucket=name, Key="k",
            Retention={"Mode": "GOVERNANCE", "RetainUntilDate": sooner})
    w.main.put_object_retention(Bucket=name, Key="k", BypassGovernanceRetention=True,
                                Retention={"Mode": "GOVERNANCE", "RetainUntilDate": sooner})
    w.main.put_object_legal_hold(Bucket=name, Key="k", LegalHold={"Status": "ON"})
    refused(403, "AccessDenied", w.main.delete_object, Bucket=name, Key="k", VersionId=version,
            BypassGovernanceRetention=True)
    assert w.main.get_object_legal_hold(Bucket=name, Key="k")["LegalHold"] == {"Status": "ON"}
    w.main.put_object_legal_hold(Bucket=name, Key="k", LegalHold={"Status": "OFF"})
    w.main.delete_object(Bucket=name, Key="k", VersionId=version, BypassGovernanceRetention=True)
    refused(400, "InvalidRequest", w.main.put_object_legal_hold, Bucket=plain, Key="k",
            LegalHold={"Status": "ON"})
    locked = w.main.put_object(Bucket=name, Key="c", Body=b"x", ObjectLockMode="COMPLIANCE",
                               ObjectLockRetainUntilDate=until)["VersionId"]
    refused(403, "AccessDenied", w.main.delete_object, Bucket=name, Key="c", VersionId=locked,
            BypassGovernanceRetention=True)
    w.main.delete_object(Bucket=name, Key="c")  # a marker may be put


# Encryption.


@case
def customer_keys(w):
    name, body = w.bucket(), payload(700001)
    w.main.put_object(Bucket=name, Key="k", Body=body, **SSE)
    refused(400, "InvalidRequest", w.main.get_object, Bucket=name, Key="k")
    refused(400, "400", w.main.head_object, Bucket=name, Key="k")
    other = dict(SSE, SSECustomerKey="x" * 32)
    refused(400, "InvalidRequest", w.main.get_object, Bucket=name, Key="k", **other)
    got = w.main.get_object(Bucket=name, Key="k", **SSE)
    assert got["Body"].read() == body and got["SSECustomerAlgorithm"] == "AES256"
    for first, last in ((0, 0), (17, 1000), (262143, 262145), (700000, 700000)):
        got = w.main.get_object(Bucket=name, Key="k", Range=f"bytes={first}-{last}", **SSE)
        assert got["Body"].read() == body[first:last + 1]
    refused(400, "InvalidArgument", w.main.put_object, Bucket=name, Key="l", Body=b"",
            **dict(SSE, SSECustomerKeyMD5="AAAAAAAAAAAAAAAAAAAAAA=="))
    bodies = [payload(5 * MIB, 7), payload(100, 8)]
    upload, parts = upload_parts(w.main, name, "m", bodies, **SSE)
    refused(400, "InvalidRequest", w.main.upload_part, Bucket=name, Key="m", UploadId=upload,
            PartNumber=3, Body=b"")
    w.main.complete_multipart_upload(Bucket=name, Key="m", UploadId=upload,
                                     MultipartUpload={"Parts": parts})
    whole = b"".join(bodies)
    assert w.main.get_object(Bucket=name, Key="m", **SSE)["Body"].read() == whole
    at = 5 * MIB
    assert w.main.get_object(Bucket=name, Key="m", Range=f"bytes={at - 3}-{at + 5}",
                             **SSE)["Body"].read() == whole[at - 3:at + 6]
    w.main.copy_object(Bucket=name, Key="plain", CopySource=f"{name}/m",
                       CopySourceSSECustomerAlgorithm="AES256",
                       CopySourceSSECustomerKey=SSE["SSECustomerKey"])
    assert w.main.get_object(Bucket=name, Key="plain")["Body"].read() == whole
    for number in (1, 2):
        got = w.main.get_object(Bucket=name, Key="m", PartNumber=number, **SSE)
        assert got["Body"].read() == bodies[number - 1]


def is_hidden(w, name, key, bodies):
    """What was encrypted is read back in every way, and sizes are those of its reader."""
    whole = b"".join(bodies)
    got = w.main.get_object(Bucket=name, Key=key)
    assert got["ServerSideEncryption"] == "AES256" and got["Body"].read() == whole
    head = w.main.head_object(Bucket=name, Key=key)
    assert head["ServerSideEncryption"] == "AES256" and head["ContentLength"] == len(whole)
    assert [e["Size"] for e in w.main.list_objects_v2(Bucket=name, Prefix=key)["Contents"]] \
        == [len(whole)]
    for first in (0, 1, 17, 262127, 262128, 262129, 524255, 524256, len(bodies[0]) - 1,
                  len(bodies[0]), len(whole) - 1):
        for size in (1, 40, 300000):
            if first < len(whole):
                got = w.main.get_object(Bucket=name, Key=key, Range=f"bytes={first}-{first + size - 1}")
                assert got["Body"].read() == whole[first:first + size], (key, first, size)
    if whole:
        assert w.main.get_object(Bucket=name, Key=key, Range="bytes=-1")["Body"].read() == whole[-1:]
    refused(400, "InvalidRequest", w.main.get_object, Bucket=name, Key=key, **SSE)


@case
def server_keys(w):
    name = w.bucket()
    for size in (0, 1, 100, 4080, 4081, 262127, 262128, 262129, 524256, 524257, 3 * MIB):
        body = payload(size, size)
        answer = w.main.put_object(Bucket=name, Key=f"k{size}", Body=body,
                                   ServerSideEncryption="AES256")
        assert answer["ServerSideEncryption"] == "AES256"
        assert answer["ETag"] == f'"{hashlib.md5(body).hexdigest()}"'
        is_hidden(w, name, f"k{size}", [body])
    bodies = [payload(5 * MIB, 7), payload(5 * MIB + 1, 8), payload(100, 9)]
    upload, parts = upload_parts(w.main, name, "m", bodies[:2], ServerSideEncryption="AES256")
    answer = w.main.upload_part(Bucket=name, Key="m", UploadId=upload, PartNumber=3, Body=bodies[2])
    assert answer["ServerSideEncryption"] == "AES256"
    parts.append({"PartNumber": 3, "ETag": answer["ETag"]})
    assert [p["Size"] for p in w.main.list_parts(Bucket=name, Key="m", UploadId=upload)["Parts"]] \
        == [len(b) for b in bodies]
    answer = w.main.complete_multipart_upload(Bucket=name, Key="m", UploadId=upload,
                                              MultipartUpload={"Parts": parts})
    assert answer["ServerSideEncryption"] == "AES256"
    is_hidden(w, name, "m", bodies)
    for number, body in enumerate(bodies, 1):
        got = w.main.get_object(Bucket=name, Key="m", PartNumber=number)
        assert got["Body"].read() == body and got["PartsCount"] == 3
    found = w.main.get_object_attributes(Bucket=name, Key="m",
                                         ObjectAttributes=["ObjectParts", "ObjectSize"])
    assert found["ObjectSize"] == sum(len(b) for b in bodies)
    # From hidden to open, and back, and to a customer's key.
    answer = w.main.copy_object(Bucket=name, Key="open", CopySource=f"{name}/m")
    assert "ServerSideEncryption" not in answer
    assert w.main.get_object(Bucket=name, Key="open")["Body"].read() == b"".join(bodies)
    w.main.copy_object(Bucket=name, Key="open", CopySource=f"{name}/open",
                       ServerSideEncryption="AES256")
    is_hidden(w, name, "open", [b"".join(bodies)])
    w.main.copy_object(Bucket=name, Key="c", CopySource=f"{name}/open", **SSE)
    assert w.main.get_object(Bucket=name, Key="c", **SSE)["Body"].read() == b"".join(bodies)
    upload = w.main.create_multipart_upload(Bucket=name, Key="p",
                                            ServerSideEncryption="AES256")["UploadId"]
    answer = w.main.upload_part_copy(Bucket=name, Key="p", UploadId=upload, PartNumber=1,
                                     CopySource=f"{name}/m", CopySourceRange="bytes=5-6000000")
    assert answer["ServerSideEncryption"] == "AES256"
    w.main.complete_multipart_upload(Bucket=name, Key="p", UploadId=upload, MultipartUpload={
        "Parts": [{"PartNumber": 1, "ETag": answer["CopyPartResult"]["ETag"]}]})
    is_hidden(w, name, "p", [b"".join(bodies)[5:6000001]])


@case
def server_keys_refused(w):
    name = w.bucket()
    put = w.main.put_object
    refused(400, "InvalidArgument", put, Bucket=name, Key="k", Body=b"", ServerSideEncryption="AES256",
            **SSE)
    refused(400, "InvalidArgument", put, Bucket=name, Key="k", Body=b"", SSEKMSKeyId="x", **SSE)
    refused(400, "InvalidArgument", put, Bucket=name, Key="k", Body=b"", SSEKMSKeyId="x")
    refused(400, "InvalidArgument", put, Bucket=name, Key="k", Body=b"", SSEKMSKeyId="x",
            ServerSideEncryption="AES256")
    refused(400, "InvalidArgument", put, Bucket=name, Key="k", Body=b"",
            ServerSideEncryption="aes:kms")
    refused(400, "InvalidArgument", put, Bucket=name, Key="k", Body=b"",
            ServerSideEncryption="aws:kms")
    refused(501, "NotImplemented", put, Bucket=name, Key="k", Body=b"", SSEKMSKeyId="x",
            ServerSideEncryption="aws:kms")
    refused(400, "InvalidArgument", w.main.create_multipart_upload, Bucket=name, Key="k",
            ServerSideEncryption="AES256", **SSE)


@case
def bucket_encryption(w):
    name = w.bucket()
    rules = lambda **more: {"Rules": [{"ApplyServerSideEncryptionByDefault": more}]}  # noqa: E731
    get = w.main.get_bucket_encryption
    refused(404, "ServerSideEncryptionConfigurationNotFoundError", get, Bucket=name)
    w.main.put_object(Bucket=name, Key="before", Body=b"x")
    w.main.put_bucket_encryption(Bucket=name,
                                 ServerSideEncryptionConfiguration=rules(SSEAlgorithm="AES256"))
    kept = get(Bucket=name)["ServerSideEncryptionConfiguration"]["Rules"]
    assert kept == [{"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"},
                     "BucketKeyEnabled": False}], kept
    assert "ServerSideEncryption" not in w.main.head_object(Bucket=name, Key="before")
    assert w.main.put_object(Bucket=name, Key="k", Body=b"abc")["ServerSideEncryption"] == "AES256"
    is_hidden(w, name, "k", [b"abc"])
    assert w.main.copy_object(Bucket=name, Key="copy", CopySource=f"{name}/before")[
        "ServerSideEncryption"] == "AES256"
    is_hidden(w, name, "copy", [b"x"])
    upload, parts = upload_parts(w.main, name, "m", [b"small"])
    w.main.complete_multipart_upload(Bucket=name, Key="m", UploadId=upload,
                                     MultipartUpload={"Parts": parts})
    is_hidden(w, name, "m", [b"small"])
    answer = post(w, name, signed_form([{"bucket": name}, ["starts-with", "$key", ""]]))
    assert answer.status == 204 and answer.headers["x-amz-server-side-encryption"] == "AES256"
    is_hidden(w, name, "foo.txt", [b"bar"])
    w.main.put_object(Bucket=name, Key="c", Body=b"own", **SSE)
    assert "ServerSideEncryption" not in w.main.head_object(Bucket=name, Key="c", **SSE)
    refused(501, "NotImplemented", w.main.put_bucket_encryption, Bucket=name,
            ServerSideEncryptionConfiguration=rules(SSEAlgorithm="aws:kms", KMSMasterKeyID="x"))
    refused(400, "MalformedXML", w.main.put_bucket_encryption, Bucket=name,
            ServerSideEncryptionConfiguration=rules(SSEAlgorithm="ROT13"))
    w.main.delete_bucket_encryption(Bucket=name)
    w.main.delete_bucket_encryption(Bucket=name)
    refused(404, "ServerSideEncryptionConfigurationNotFoundError", get, Bucket=name)
    assert "ServerSideEncryption" not in w.main.put_object(Bucket=name, Key="open", Body=b"")
    is_hidden(w, name, "k", [b"abc"])
    answer = post(w, name, signed_form([{"bucket": name}, ["starts-with", "$key", ""],
                                        {"x-amz-server-side-encryption": "AES256"}],
                                       key="form", **{"x-amz-server-side-encryption": "AES256"}))
    assert answer.status == 204
    is_hidden(w, name, "form", [b"bar"])


@case
def nothing_open_on_disk(w):
    """The bytes of encrypted objects are nowhere in the store's file."""
    name, mark = w.bucket(), b"that must never be seen " + payload(16, 99).hex().encode()
    w.main.put_object(Bucket=name, Key="small", Body=mark, ServerSideEncryption="AES256")
    w.main.put_object(Bucket=name, Key="large", Body=mark * 30000, **SSE)
    w.main.put_object(Bucket=name, Key="open", Body=mark[:-1])
    seen = b""
    with open(w.server.data / "store", "rb") as file:
        at, end = 0, os.fstat(file.fileno()).st_size
        while True:
            try:
                at = os.lseek(file.fileno(), at, os.SEEK_DATA)
            except OSError:
                break
            hole = os.lseek(file.fileno(), at, os.SEEK_HOLE)
            data = os.pread(file.fileno(), min(hole - at, 16 * MIB), at)
            seen += mark[:-1] if mark[:-1] in data else b""
            assert mark not in data and at < end
            at += max(len(data) - len(mark), 1) if at + len(data) < hole else len(data)
    assert seen
    assert (w.server.data / "s3.key").stat().st_mode & 0o777 == 0o600


# Who signs, and how.


@case
def presigned(w):
    name, body = w.bucket(), payload(100000)
    url = w.main.generate_presigned_url("put_object", Params={"Bucket": name, "Key": "a b"})
    urllib.request.urlopen(urllib.request.Request(url, data=body, method="PUT", headers={
        "Content-Type": ""}))
    url = w.main.generate_presigned_url("get_object", Params={"Bucket": name, "Key": "a b"})
    assert urllib.request.urlopen(url).read() == body
    answer = w.request("GET", url.split(str(w.server.s3_port), 1)[1].replace("Signature=", "Signature=0"))
    assert answer.status == 403 and b"SignatureDoesNotMatch" in answer.text
    for seconds in (0, 604801, -7):
        url = w.main.generate_presigned_url("get_object", Params={"Bucket": name, "Key": "a b"},
                                            ExpiresIn=seconds)
        assert w.request("GET", url.split(str(w.server.s3_port), 1)[1]).status == 403
    url = w.main.generate_presigned_url("get_object", Params={"Bucket": name, "Key": "a b"},
                                        ExpiresIn=1)
    time.sleep(2)
    answer = w.request("GET", url.split(str(w.server.s3_port), 1)[1])
    assert answer.status == 403 and b"Request has expired" in answer.text


@case
def strangers(w):
    name = w.bucket()
    for headers, status, code in (
            ({}, 403, b"AccessDenied"), ({"Authorization": ""}, 403, b"AccessDenied"),
            ({"Authorization": "AWS HAHAHA"}, 400, b"InvalidArgument"),
            ({"Authorization": "AWS a:b"}, 400, b"InvalidRequest"),
            ({"Authorization": "AWS4-HMAC-SHA256 junk"}, 400, b"AuthorizationHeaderMalformed")):
        answer = w.request("GET", "/" + name, headers=headers)
        assert answer.status == status and code in answer.text, (headers, answer.text)
    access, secret = KEYS["main"]
    for key, code in (((access, "wrong"), "SignatureDoesNotMatch"),
                      (("NOSUCHKEY", secret), "InvalidAccessKeyId")):
        client = boto3.client("s3", endpoint_url=w.server.url, aws_access_key_id=key[0],
                              aws_secret_access_key=key[1], region_name=REGION)
        refused(403, code, client.list_buckets)
    far = boto3.client("s3", endpoint_url=w.server.url, aws_access_key_id=access,
                       aws_secret_access_key=secret, region_name="eu-north-1")
    far.list_objects(Bucket=name)


@case
def chunked_uploads(w):
    name, body = w.bucket(), payload(300000, 3)
    for signed in (True, False):
        client = w.client("main", s3={"payload_signing_enabled": signed})
        for kind in ("CRC32", "SHA1", "SHA256"):
            answer = client.put_object(Bucket=name, Key="k", Body=io.BytesIO(body),
                                       ChecksumAlgorithm=kind)
            assert answer["ETag"] == f'"{hashlib.md5(body).hexdigest()}"'
            got = client.get_object(Bucket=name, Key="k", ChecksumMode="ENABLED")
            assert got["Body"].read() == body and got["Checksum" + kind]
            assert "ContentEncoding" not in got


@case
def signed_chunks(w):
    """STREAMING-AWS4-HMAC-SHA256-PAYLOAD, with and without a trailer, by hand."""
    name, (access, secret) = w.bucket(), KEYS["main"]
    sha = lambda data: hashlib.sha256(data).hexdigest()  # noqa: E731
    for trailer in (False, True):
        for spoil in (False, True):
            now = datetime.datetime.utcnow()
            stamp, day = now.strftime("%Y%m%dT%H%M%SZ"), now.strftime("%Y%m%d")
            scope = f"{day}/{REGION}/s3/aws4_request"
            key = sign(("AWS4" + secret).encode(), day, REGION, "s3", "aws4_request")
            body = payload(70000)
            mode = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD" + ("-TRAILER" if trailer else "")
            headers = {"host": f"127.0.0.1:{w.server.s3_port}", "content-encoding": "aws-chunked",
                       "x-amz-content-sha256": mode, "x-amz-date": stamp,
                       "x-amz-decoded-content-length": str(len(body))}
            if trailer:
                headers["x-amz-trailer"] = "x-amz-checksum-crc32"
            names = ";".join(sorted(headers))
            canonical = "\n".join(["PUT", f"/{name}/k", "", *(f"{k}:{headers[k]}" for k in
                                                              sorted(headers)), "", names, mode])
            seed = sign(key, f"AWS4-HMAC-SHA256\n{stamp}\n{scope}\n{sha(canonical.encode())}").hex()
            out, previous = b"", seed
            for piece in (body[:65536], body[65536:], b""):
                previous = sign(key, f"AWS4-HMAC-SHA256-PAYLOAD\n{stamp}\n{scope}\n{previous}\n"
                                     f"{sha(b'')}\n{sha(piece)}").hex()
                said = "0" * 64 if spoil and len(piece) == 4464 and not trailer else previous
                out += f"{len(piece):x};chunk-signature={said}\r\n".encode() + piece
                out += b"" if trailer and not piece else b"\r\n"
            if trailer:
                crc = base64.b64encode(zlib.crc32(body).to_bytes(4, "big")).decode()
                line = f"x-amz-checksum-crc32:{crc}\n"
                last = sign(key, f"AWS4-HMAC-SHA256-TRAILER\n{stamp}\n{scope}\n{previous}\n"
                                 f"{sha(line.encode())}").hex()
                out += (f"x-amz-checksum-crc32:{crc}\r\nx-amz-trailer-signature:"
                        f"{'0' * 64 if spoil else last}\r\n\r\n").encode()
            headers["authorization"] = (f"AWS4-HMAC-SHA256 Credential={access}/{scope},"
                                        f"SignedHeaders={names},Signature={seed}")
            answer = w.request("PUT", f"/{name}/k", out, headers)
            if spoil:
                assert answer.status == 403 and b"SignatureDoesNotMatch" in answer.text, answer.text
            else:
                assert answer.status == 200, answer.text
                assert w.main.get_object(Bucket=name, Key="k")["Body"].read() == body


# Forms.


@case
def forms(w):
    name = w.bucket(ACL="public-read-write")
    assert post(w, name, {"key": "foo.txt", "acl": "public-read",
                          "Content-Type": "text/plain"}).status == 204
    assert w.main.get_object(Bucket=name, Key="foo.txt")["Body"].read() == b"bar"
    private = w.bucket()
    assert post(w, private, {"key": "foo.txt"}).status == 403
    conditions = [{"bucket": private}, ["starts-with", "$key", "foo"], {"acl": "private"},
                  ["starts-with", "$Content-Type", "text/plain"], ["content-length-range", 0, 2000000]]
    more = {"acl": "private", "Content-Type": "text/plain"}
    assert post(w, private, signed_form(conditions, **more)).status == 204
    big = payload(1500000, 4)
    assert post(w, private, signed_form(conditions, key="foo-${filename}", **more), big).status == 204
    assert w.main.get_object(Bucket=private, Key="foo-foo.txt")["Body"].read() == big
    answer = post(w, private, signed_form(conditions + [["starts-with", "$success_action_status", ""]],
                                          success_action_status="201", **more))
    assert answer.status == 201 and b"<Key>foo.txt</Key>" in answer.text
    for status, change in ((403, {"signature": "AAAA"}), (403, {"AWSAccessKeyId": "none"}),
                           (403, {"x-other": "x"}), (403, {"key": "bar"}), (400, {"policy": "e30="})):
        fields = dict(signed_form(conditions, **more), **change)
        if "policy" in change:
            digest = hmac.new(KEYS["main"][1].encode(), b"e30=", hashlib.sha1).digest()
            fields["signature"] = base64.b64encode(digest).decode()
        assert post(w, private, fields).status == status, change
    assert post(w, private, signed_form(conditions, expires=-10, **more)).status == 403
    assert post(w, private, signed_form(conditions, **more), payload(2000001)).status == 400
    assert post(w, private, {k: v for k, v in signed_form(conditions, **more).items()
                             if k != "key"}).status == 403
    sdk = w.main.generate_presigned_post(private, "sdk/${filename}")
    assert post(w, private, sdk["fields"]).status == 204
    assert w.main.get_object(Bucket=private, Key="sdk/foo.txt")["Body"].read() == b"bar"


# What is not there.


@case
def not_implemented(w):
    name = w.filled(["k"])
    for call, more in ((w.main.get_bucket_analytics_configuration, {"Id": "x"}),
                       (w.main.list_bucket_inventory_configurations, {}),
                       (w.main.get_object_torrent, {"Key": "k"})):
        refused(501, "NotImplemented", call, Bucket=name, **more)
    refused(501, "NotImplemented", w.main.put_bucket_website, Bucket=name,
            WebsiteConfiguration={"IndexDocument": {"Suffix": "i"}})
    assert w.main.get_bucket_notification_configuration(Bucket=name)
    refused(501, "NotImplemented", w.main.put_bucket_notification_configuration, Bucket=name,
            NotificationConfiguration={"QueueConfigurations": [
                {"QueueArn": "arn:aws:sqs:::q", "Events": ["s3:ObjectCreated:*"]}]})


@case
def durable(w):
    """What was answered is there after kill -9."""
    import signal
    name = w.bucket()
    upload, parts = upload_parts(w.main, name, "m", [payload(5 * MIB), b"end"])
    w.main.complete_multipart_upload(Bucket=name, Key="m", UploadId=upload,
                                     MultipartUpload={"Parts": parts})
    for i in range(50):
        w.main.put_object(Bucket=name, Key=f"k{i}", Body=payload(i * 1000, i), Metadata={"i": str(i)})
    w.server.stop(signal.SIGKILL)
    w.server.start()
    client = w.client("main")
    for i in range(50):
        got = client.get_object(Bucket=name, Key=f"k{i}")
        assert got["Body"].read() == payload(i * 1000, i) and got["Metadata"] == {"i": str(i)}
    assert client.get_object(Bucket=name, Key="m")["Body"].read() == payload(5 * MIB) + b"end"


main(__doc__)
