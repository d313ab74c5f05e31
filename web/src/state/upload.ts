// Files on their way here. The job is submitted at once, so that it is encoded while the rest of the file comes.

import { signal } from '@preact/signals';
import { asProblem, change } from '../api/http';
import type { JobView } from '../api/types';
import { go, url } from '../router';

export interface Sending {
  id: number;
  name: string;
  size: number;
  sent: number;
  /** Bytes a second, lately. */
  rate: number;
  state: 'sending' | 'paused' | 'done' | 'failed';
  problem?: string;
  job?: string;
  pause: () => void;
  resume: () => void;
  remove: () => void;
}

export const sendings = signal<Sending[]>([]);

/** Bytes of a request; what is lost with a connection at most. */
const PIECE = 16 * 1024 * 1024;
const AGAIN_MS = [0, 500, 1000, 2000, 4000, 8000, 15_000, 30_000, 60_000];
let last = 0;

function put(id: number, changed: Partial<Sending>): void {
  sendings.value = sendings.value.map((each) => (each.id === id ? { ...each, ...changed } : each));
}

export function isSending(): boolean {
  return sendings.value.some((each) => each.state === 'sending' || each.state === 'paused');
}

/** `show`: its job is opened as soon as there is one, unless the person went elsewhere. */
export async function send(file: File, preset: string, show: boolean): Promise<void> {
  const { Upload } = await import('tus-js-client');
  const id = ++last;
  let named = false;
  let mark = { at: Date.now(), sent: 0 };
  const name = async (upload: string) => {
    if (named) return;
    named = true;
    try {
      const job = await change<JobView>('POST', '/v1/jobs', { input: { upload }, preset });
      put(id, { job: job.id });
      if (show && location.pathname === url('/jobs')) go(url(`/jobs/${job.id}`));
    } catch (error) {
      put(id, { state: 'failed', problem: asProblem(error).detail });
      void sender.abort(true);
    }
  };
  const idOf = (address: string | null) => address?.split('/').pop()?.split('?')[0];
  const sender = new Upload(file, {
    endpoint: '/v1/uploads',
    chunkSize: PIECE,
    retryDelays: AGAIN_MS,
    metadata: { filename: file.name, filetype: file.type },
    headers: { 'x-tvarr-page': '1' },
    storeFingerprintForResuming: true,
    removeFingerprintOnSuccess: true,
    onUploadUrlAvailable: () => {
      const upload = idOf(sender.url);
      if (upload) void name(upload);
    },
    onProgress: (sent) => {
      const at = Date.now();
      if (at - mark.at > 500) {
        put(id, { sent, rate: ((sent - mark.sent) * 1000) / (at - mark.at) });
        mark = { at, sent };
      }
    },
    onSuccess: () => put(id, { state: 'done', sent: file.size }),
    onError: (error) => put(id, { state: 'failed', problem: error.message }),
  });
  const start = () => {
    mark = { at: Date.now(), sent: mark.sent };
    sender.start();
  };
  sendings.value = [
    ...sendings.value,
    {
      id,
      name: file.name,
      size: file.size,
      sent: 0,
      rate: 0,
      state: 'sending',
      pause: () => void sender.abort().then(() => put(id, { state: 'paused', rate: 0 })),
      resume: () => (put(id, { state: 'sending' }), start()),
      remove: () => (sendings.value = sendings.value.filter((each) => each.id !== id)),
    },
  ];
  start();
}

export function warnBeforeLeaving(): void {
  window.addEventListener('beforeunload', (event) => {
    if (isSending()) event.preventDefault();
  });
}
