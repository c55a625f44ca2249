// SPDX-License-Identifier: Apache-2.0
// The npm `redis` client, with RESP2 and RESP3.
import { createClient, WatchError } from 'redis';
import { assert, check, end, killServer, port } from './shared.mjs';

async function open(RESP) {
	const client = createClient({ url: `redis://127.0.0.1:${port}`, RESP,
		socket: { reconnectStrategy: () => 50 } });
	client.on('error', () => {}); // reconnecting is its business
	await client.connect();
	return client;
}

for (const version of [2, 3]) {
	const client = await open(version);
	const key = (name) => `resp${version}:${name}`;

	await check(`RESP${version}: connects, PING, HELLO`, async () => {
		assert.equal(await client.ping(), 'PONG');
		const hello = await client.hello();
		assert.equal(hello.proto, version);
	});
	await check(`RESP${version}: SET and GET, null`, async () => {
		assert.equal(await client.set(key('a'), 'é\r\n\0'), 'OK');
		assert.equal(await client.get(key('a')), 'é\r\n\0');
		assert.equal(await client.get(key('absent')), null);
		assert.deepEqual(await client.mGet([key('a'), key('absent')]), ['é\r\n\0', null]);
	});
	await check(`RESP${version}: 1,000 commands at once`, async () => {
		const sets = Array.from({ length: 1000 }, (_, i) => client.set(key(`n${i}`), `${i}`));
		assert.ok((await Promise.all(sets)).every((reply) => reply === 'OK'));
		const gets = Array.from({ length: 1000 }, (_, i) => client.get(key(`n${i}`)));
		(await Promise.all(gets)).forEach((reply, i) => assert.equal(reply, `${i}`));
	});
	await check(`RESP${version}: MULTI and EXEC`, async () => {
		const replies = await client.multi().set(key('c'), '1').incr(key('c')).get(key('c')).exec();
		assert.deepEqual(replies, ['OK', 2, '2']);
	});
	await check(`RESP${version}: WATCH refuses a stale transaction`, async () => {
		const other = await open(version);
		await client.watch(key('w'));
		await other.set(key('w'), 'theirs');
		await assert.rejects(client.multi().set(key('w'), 'mine').exec(), WatchError);
		assert.equal(await client.get(key('w')), 'theirs');
		other.destroy();
	});
	await check(`RESP${version}: conditions and expiry`, async () => {
		assert.equal(await client.set(key('x'), '1', { NX: true }), 'OK');
		assert.equal(await client.set(key('x'), '2', { NX: true }), null);
		assert.equal(await client.set(key('x'), '2', { XX: true, EX: 100 }), 'OK');
		assert.ok(await client.ttl(key('x')) > 90);
		assert.equal(await client.persist(key('x')), 1);
	});
	await check(`RESP${version}: SCAN, errors, INFO`, async () => {
		let count = 0;
		for await (const keys of client.scanIterator({ MATCH: key('n*'), COUNT: 100 }))
			count += [keys].flat().length;
		assert.equal(count, 1000);
		await assert.rejects(client.incr(key('a')), /not an integer/);
		await assert.rejects(client.sendCommand(['NOSUCH', 'x']), /unknown command/);
		assert.match(await client.info(), /redis_version/);
	});
	await check(`RESP${version}: reconnects after kill -9`, async () => {
		await client.set(key('durable'), 'before');
		await killServer();
		for (;;) {
			try {
				assert.equal(await client.get(key('durable')), 'before');
				break;
			} catch (error) {
				if (error instanceof assert.AssertionError)
					throw error;
			}
		}
		assert.equal(await client.set(key('durable'), 'after'), 'OK');
	});
	client.destroy();
}
end();
