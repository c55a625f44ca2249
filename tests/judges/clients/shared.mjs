// SPDX-License-Identifier: Apache-2.0
// What both client scripts share: cases as TAP lines, and asking the parent for a kill -9.
import assert from 'node:assert/strict';
import readline from 'node:readline';

export const port = Number(process.argv[2]);
const answers = readline.createInterface({ input: process.stdin })[Symbol.asyncIterator]();
let failed = 0;

export async function check(name, work) {
	const late = new Promise((_, reject) =>
		setTimeout(() => reject(new Error('no end after 20 s')), 20000).unref());
	try {
		await Promise.race([work(), late]);
		console.log(`ok - ${name}`);
	} catch (error) {
		failed++;
		console.log(`not ok - ${name}`);
		console.log(`# ${String(error.stack ?? error).replaceAll('\n', '\n# ')}`);
	}
}

/* Returns when the server was killed with -9; it is starting again meanwhile. */
export async function killServer() {
	console.log('KILL');
	assert.equal((await answers.next()).value, 'KILLED');
}

export function end() {
	process.exit(failed > 0 ? 1 : 0);
}

export { assert };
