// The BullMQ side: a worker that starts the command of each job, or does nothing for jobs that are empty. It runs
// BENCH_CONCURRENCY jobs at once and adds a byte to BENCH_COUNT_FILE for each that Redis knows to be completed. All other
// settings are BullMQ's defaults.
'use strict';

const { spawn } = require('node:child_process');
const fs = require('node:fs');
const { Worker } = require('bullmq');

const connection = { host: '127.0.0.1', port: Number(process.env.BENCH_REDIS_PORT), maxRetriesPerRequest: null };
const count = fs.openSync(process.env.BENCH_COUNT_FILE, 'a');

const start = (argv) =>
  new Promise((resolve, reject) => {
    const child = spawn(argv[0], argv.slice(1), { stdio: 'ignore' });
    child.on('error', reject);
    child.on('exit', resolve);
  });

const run = async ({ name, data: { argv } }) => (name === 'start' ? start(argv) : null);

const worker = new Worker('bench', run, { connection, concurrency: Number(process.env.BENCH_CONCURRENCY) });
worker.on('error', (error) => console.error(error));
worker.on('completed', () => fs.writeSync(count, '.'));
worker.waitUntilReady().then(() => console.log('ready'));
