// The BullMQ side: a worker that starts the command of each job, one at a time. Settings are BullMQ's defaults.
'use strict';

const { spawn } = require('node:child_process');
const { Worker } = require('bullmq');

const connection = { host: '127.0.0.1', port: Number(process.env.BENCH_REDIS_PORT), maxRetriesPerRequest: null };

const start = ({ data: { argv } }) =>
  new Promise((resolve, reject) => {
    const child = spawn(argv[0], argv.slice(1), { stdio: 'ignore' });
    child.on('error', reject);
    child.on('exit', resolve);
  });

const worker = new Worker('bench', start, { connection, concurrency: 1 });
worker.on('error', (error) => console.error(error));
worker.waitUntilReady().then(() => console.log('ready'));
