# SPDX-License-Identifier: Apache-2.0
"""What the judges of the S3 face through boto3 share: users, buckets, forms, and how cases run."""
import base64
import datetime
import hashlib
import hmac
import http.client
import json
import random
import traceback

from judge import Tap, parser, skip
from s3_server import KEYS, REGION, served

try:
    import boto3
    from botocore import UNSIGNED
    from botocore.config import Config
    from botocore.exceptions import ClientError
except ImportError:
    skip("no boto3 (package python3-boto3)")

MIB = 1 << 20
SSE = {"SSECustomerAlgorithm": "AES256", "SSECustomerKey": "0123456789abcdef0123456789abcdef"}

CASES = []


def case(function):
    CASES.append(function)
    return function


def payload(size, seed=1):
    return random.Random(seed).randbytes(size)


class World:
    """Clients of all users, and buckets that nobody else has."""

    def __init__(self, server):
        self.server, self.count = server, 0
        self.main, self.alt = self.client("main"), self.client("alt")
        self.nobody = boto3.client("s3", endpoint_url=server.url, region_name=REGION,
                                   config=Config(signature_version=UNSIGNED))

    def client(self, user, **config):
        access, secret = KEYS[user]
        return boto3.client("s3", endpoint_url=self.server.url, aws_access_key_id=access,
                            aws_secret_access_key=secret, region_name=REGION,
                            config=Config(signature_version="s3v4",
                                          retries={"max_attempts": 1}, **config))

    def bucket(self, client=None, **options):
        self.count += 1
        name = f"case-{self.count}"
        (client or self.main).create_bucket(Bucket=name, **options)
        return name

    def filled(self, names, **options):
        name = self.bucket(**options)
        for key in names:
            self.main.put_object(Bucket=name, Key=key, Body=key)
        return name

    def request(self, method, path, body=None, headers=None):
        connection = http.client.HTTPConnection("127.0.0.1", self.server.s3_port, timeout=30)
        connection.request(method, path, body, headers or {})
        answer = connection.getresponse()
        answer.text = answer.read()
        connection.close()
        return answer


def refused(status, code, function, *args, **kwargs):
    try:
        function(*args, **kwargs)
    except ClientError as error:
        got = (error.response["ResponseMetadata"]["HTTPStatusCode"],
               error.response["Error"]["Code"])
        assert got == (status, code), f"refused with {got}, not {(status, code)}"
        return error.response
    raise AssertionError(f"not refused with {status} {code}")


def keys(answer, what="Contents"):
    return [entry["Key"] for entry in answer.get(what, [])]


def prefixes(answer):
    return [entry["Prefix"] for entry in answer.get("CommonPrefixes", [])]


def upload_parts(client, bucket, key, bodies, upload=None, **extra):
    upload = upload or client.create_multipart_upload(Bucket=bucket, Key=key, **extra)["UploadId"]
    sse = {k: v for k, v in extra.items() if k.startswith("SSE")}
    parts = []
    for number, body in enumerate(bodies, 1):
        answer = client.upload_part(Bucket=bucket, Key=key, UploadId=upload, PartNumber=number,
                                    Body=body, **sse)
        parts.append({"PartNumber": number, "ETag": answer["ETag"]})
    return upload, parts


def statement(bucket, action, effect="Allow", principal="*", what="", **more):
    return {"Effect": effect, "Principal": principal, "Action": action,
            "Resource": f"arn:aws:s3:::{bucket}{what}", **more}


def policy_of(*statements):
    return json.dumps({"Version": "2012-10-17", "Statement": list(statements)})


def sign(key, *texts):
    for text in texts:
        key = hmac.new(key, text.encode(), hashlib.sha256).digest()
    return key


def post(w, bucket, fields, body=b"bar", name="foo.txt"):
    edge = "9431149156168"
    text = b"".join(f'--{edge}\r\nContent-Disposition: form-data; name="{k}"\r\n\r\n{v}\r\n'.encode()
                    for k, v in fields.items())
    text += (f'--{edge}\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n'
             "Content-Type: text/plain\r\n\r\n").encode() + body + f"\r\n--{edge}--\r\n".encode()
    return w.request("POST", "/" + bucket, text,
                     {"Content-Type": f"multipart/form-data; boundary={edge}"})


def signed_form(conditions, key="foo.txt", expires=6000, user="main", **more):
    access, secret = KEYS[user]
    document = {"expiration": (datetime.datetime.utcnow() + datetime.timedelta(seconds=expires))
                .strftime("%Y-%m-%dT%H:%M:%SZ"), "conditions": conditions}
    policy = base64.b64encode(json.dumps(document).encode()).decode()
    digest = hmac.new(secret.encode(), policy.encode(), hashlib.sha1).digest()
    return {"key": key, "AWSAccessKeyId": access, "signature": base64.b64encode(digest).decode(),
            "policy": policy, **more}


def main(text, settings=("s3.lifecycle_day=2s",)):
    """The cases that were declared, or those that are named."""
    arguments = parser(text)
    arguments.add_argument("names", nargs="*", help="only these cases")
    arguments.add_argument("--keep-going", action="store_true", help="tracebacks of all failures")
    options, tap = arguments.parse_args(), Tap()
    with served(list(settings)) as server:
        world = World(server)
        for function in CASES:
            if options.names and function.__name__ not in options.names:
                continue
            try:
                function(world)
                tap.case(True, function.__name__)
            except Exception:  # noqa: BLE001: whatever it is, the next case is run
                tap.case(False, function.__name__, traceback.format_exc())
                if server.process.poll() is not None:
                    print("# the server has ended: " + str(server.directory / "log"))
                    print((server.directory / "log").read_text()[-3000:])
                    break
    tap.plan()
