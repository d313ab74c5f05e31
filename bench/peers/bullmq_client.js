// Submits to BullMQ on request: one JSON object per line in, one out. Times are CLOCK_MONOTONIC in nanoseconds.
//
// {"op": "start", "argv": [...]}            -> {"before_ns": t, "after_ns": t}   around one queue.add()
// {"op": "fill", "count": n, "clients": c}  -> the same, around n of queue.add(), c at once, with the queue paused
// {"op": "resume"}                          -> the same, around queue.resume()
'use strict';

const readline = require('node:readline');
const { Queue } = require('bullmq');

const connection = { host: '127.0.0.1', port: Number(process.env.BENCH_REDIS_PORT) };
const queue = new Queue('bench', { connection, defaultJobOptions: { removeOnComplete: true } });
// Below 2^53 for a hundred days of uptime, so a JSON number holds it.
const monotonic = () => Number(process.hrtime.bigint());

const timed = async (work) => {
  const before = monotonic();
  await work();
  return { before_ns: before, after_ns: monotonic() };
};

const operations = {
  start: ({ argv }) => timed(() => queue.add('start', { argv })),

  fill: async ({ count, clients }) => {
    await queue.pause();
    let left = count;
    const client = async () => {
      while (left-- > 0) await queue.add('empty', {});
    };
    return timed(() => Promise.all(Array.from({ length: clients }, client)));
  },

  resume: () => timed(() => queue.resume()),
};

queue.waitUntilReady().then(() => {
  console.log('ready');
  readline.createInterface({ input: process.stdin })
    .on('line', async (line) => {
      const request = JSON.parse(line);
      console.log(JSON.stringify(await operations[request.op](request)));
    })
    .on('close', () => process.exit(0));
});
