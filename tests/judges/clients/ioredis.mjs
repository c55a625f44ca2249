// SPDX-License-Identifier: Apache-2.0
// ioredis as an application uses it.
import { Redis } from 'ioredis';
import { assert, check, end, killServer, port } from './shared.mjs';

const options = { port, host: '127.0.0.1', retryStrategy: () => 50, maxRetriesPerRequest: null };
const client = new Redis(options);
client.on('error', () => {}); // reconnecting is its business

await check('connects and says PING', async () => {
	assert.equal(await client.ping(), 'PONG');
});
await check('keeps a value of any bytes', async () => {
	const value = Buffer.from(Array.from({ length: 4096 }, (_, i) => i % 256));
	assert.equal(await client.set('binary', value), 'OK');
	assert.deepEqual(await client.getBuffer('binary'), value);
	assert.equal(await client.get('absent'), null);
});
await check('keeps a value of 4 MiB', async () => {
	const value = Buffer.alloc(4 << 20, 'large');
	await client.set('large', value);
	assert.ok((await client.getBuffer('large')).equals(value));
	assert.equal(await client.strlen('large'), 4 << 20);
});
await check('pipelines 2,000 commands in order', async () => {
	const pipeline = client.pipeline();
	for (let i = 0; i < 1000; i++)
		pipeline.set(`pipe:${i}`, i).get(`pipe:${i}`);
	const replies = await pipeline.exec();
	assert.equal(replies.length, 2000);
	replies.forEach(([error, reply], i) => {
		assert.equal(error, null);
		assert.equal(reply, i % 2 ? String(i >> 1) : 'OK');
	});
});
await check('an error in a pipeline is one reply', async () => {
	const replies = await client.pipeline().set('text', 'abc').incr('text').get('text').exec();
	assert.match(replies[1][0].message, /not an integer/);
	assert.equal(replies[2][1], 'abc');
});
await check('MULTI and EXEC', async () => {
	const replies = await client.multi().set('counter', 1).incr('counter').incrby('counter', 5).exec();
	assert.deepEqual(replies.map(([, reply]) => reply), ['OK', 2, 7]);
});
await check('WATCH refuses a stale transaction', async () => {
	const other = new Redis(options);
	await client.set('watched', 'old');
	await client.watch('watched');
	await other.set('watched', 'theirs');
	assert.equal(await client.multi().set('watched', 'mine').exec(), null);
	assert.equal(await client.get('watched'), 'theirs');
	await client.watch('watched');
	assert.notEqual(await client.multi().set('watched', 'mine').exec(), null);
	other.disconnect();
});
await check('expiry', async () => {
	await client.set('brief', 'x', 'PX', 60);
	assert.ok(await client.pttl('brief') <= 60);
	await new Promise((resolve) => setTimeout(resolve, 120));
	assert.equal(await client.get('brief'), null);
});
await check('SCAN sees every key once or more', async () => {
	const seen = new Set();
	for await (const keys of client.scanStream({ match: 'pipe:*', count: 100 }))
		keys.forEach((key) => seen.add(key));
	assert.equal(seen.size, 1000);
});
await check('SELECT keeps databases apart', async () => {
	const other = new Redis({ ...options, db: 3 });
	assert.equal(await other.get('counter'), null);
	await other.set('counter', 'three');
	assert.equal(await client.get('counter'), '7');
	other.disconnect();
});
await check('reconnects after kill -9 and finds what was acknowledged', async () => {
	await client.set('durable', 'before');
	await killServer();
	assert.equal(await client.get('durable'), 'before'); // waits in the offline queue
	assert.equal(await client.set('durable', 'after'), 'OK');
	assert.equal(await client.get('durable'), 'after');
});
end();
