// Submits to BullMQ on request: one JSON object per line in, one out. Times are CLOCK_MONOTONIC in nanoseconds.
//
// {"op": "start", "argv": [...]} -> {"before_ns": t, "after_ns": t}   around one queue.add()
'use strict';

const readline = require('node:readline');
const { Queue } = require('bullmq');

const connection = { host: '127.0.0.1', port: Number(process.env.BENCH_REDIS_PORT) };
const queue = new Queue('bench', { connection, defaultJobOptions: { removeOnComplete: true } });
// Below 2^53 for a hundred days of uptime, so a JSON number holds it.
const monotonic = () => Number(process.hrtime.bigint());

const submit = async ({ argv }) => {
  const before = monotonic();
  await queue.add('start', { argv });
  return { before_ns: before, after_ns: monotonic() };
};

queue.waitUntilReady().then(() => {
  console.log('ready');
  readline.createInterface({ input: process.stdin })
    .on('line', async (line) => console.log(JSON.stringify(await submit(JSON.parse(line)))))
    .on('close', () => process.exit(0));
});
