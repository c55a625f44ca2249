// SPDX-License-Identifier: Apache-2.0
// @aws-sdk/client-s3 with its default flags, as applications use it. ENDPOINT ACCESS SECRET.
import { createHash } from "node:crypto";
import { Readable } from "node:stream";
import {
  CreateBucketCommand, DeleteObjectCommand, GetObjectCommand, HeadObjectCommand, PutObjectCommand,
  S3Client, paginateListObjectsV2,
} from "@aws-sdk/client-s3";
import { Upload } from "@aws-sdk/lib-storage";
import { getSignedUrl } from "@aws-sdk/s3-request-presigner";

const [endpoint, accessKeyId, secretAccessKey] = process.argv.slice(2);
const client = new S3Client({
  endpoint, region: "us-east-1", forcePathStyle: true,
  credentials: { accessKeyId, secretAccessKey },
});
const Bucket = "js-bucket", MIB = 1 << 20;
const body = Buffer.alloc(1000000, "ab");
const md5 = (buffers) => {
  const hash = createHash("md5");
  for (const buffer of buffers) hash.update(buffer);
  return hash.digest("hex");
};
const pieces = function* () { for (let i = 0; i < 64; i++) yield Buffer.alloc(MIB, i); };
let failed = false;

async function check(name, run) {
  let good = false, why = "";
  try { good = await run(); } catch (error) { why = `: ${error}`; }
  failed ||= !good;
  console.log(`${good ? "ok" : "not ok"} - ${name}${why}`);
}

await client.send(new CreateBucketCommand({ Bucket }));
await check("put with the default checksum", async () => {
  const put = await client.send(new PutObjectCommand({ Bucket, Key: "k \u00e4", Body: body }));
  return put.ETag === `"${md5([body])}"` && put.ChecksumCRC32 !== undefined;
});
await check("get", async () => {
  const got = await client.send(new GetObjectCommand({ Bucket, Key: "k \u00e4" }));
  return body.equals(Buffer.from(await got.Body.transformToByteArray()));
});
await check("multipart of a stream of 64 MiB", async () => {
  const params = { Bucket, Key: "big", Body: Readable.from(pieces()) };
  await new Upload({ client, params }).done();
  const got = await client.send(new GetObjectCommand({ Bucket, Key: "big" }));
  return md5(await got.Body.toArray()) === md5([...pieces()]);
});
await check("put of a stream", async () => {
  await client.send(new PutObjectCommand({
    Bucket, Key: "s", Body: Readable.from([Buffer.from("stream")]), ContentLength: 6,
  }));
  return true;
});
await check("presigned", async () => {
  const url = await getSignedUrl(client, new GetObjectCommand({ Bucket, Key: "s" }));
  return await (await fetch(url)).text() === "stream";
});
await check("conditional put", async () => {
  try {
    await client.send(new PutObjectCommand({ Bucket, Key: "s", Body: "x", IfNoneMatch: "*" }));
  } catch (error) {
    return error.name === "PreconditionFailed" && error.$metadata.httpStatusCode === 412;
  }
  return false;
});
await check("head of nothing", async () => {
  try {
    await client.send(new HeadObjectCommand({ Bucket, Key: "none" }));
  } catch (error) {
    return error.name === "NotFound";
  }
  return false;
});
await check("pages", async () => {
  let count = 0;
  for await (const page of paginateListObjectsV2({ client, pageSize: 1 }, { Bucket })) {
    count += page.Contents.length;
  }
  return count === 3;
});
await check("delete", async () => {
  await client.send(new DeleteObjectCommand({ Bucket, Key: "s" }));
  return true;
});
process.exit(failed ? 1 : 0);
