// What happened to a job, in order and in words.

import type { JobView } from './api/types';
import { between, duration } from './format';

export interface Moment {
  at: string;
  /** As states are coloured. */
  tone: 'queued' | 'running' | 'succeeded' | 'failed' | 'cancelled' | 'dead';
  title: string;
  /** Why, or how long. */
  text?: string;
  worker?: { id: string; name: string };
  command?: string[];
}

const KINDS: Record<string, string> = {
  worker_lost: 'the worker was lost',
  handed_back: 'the worker gave it back',
  preempted: 'it had to make room',
  session_limit: 'the device had no free session',
  missing_capability: 'the worker lacked what it needs',
  stalled: 'nothing came any more',
  crashed: 'ffmpeg ended with an error',
  out_of_memory: 'the memory ran out',
  disk_full: 'the disk was full',
  output_wrong: 'the output was not what was asked for',
  upload_failed: 'the result could not be stored',
  source_unreachable: 'the input could not be read',
};

export function why(kind: string): string {
  return KINDS[kind] ?? kind.replaceAll('_', ' ');
}

const ENDS = {
  succeeded: ['succeeded', 'Succeeded'],
  failed: ['failed', 'Attempt failed'],
  cancelled: ['cancelled', 'Attempt cancelled'],
  superseded: ['failed', 'Given to another worker'],
} as const;

export function timeline(job: JobView): Moment[] {
  const moments: Moment[] = [{ at: job.submitted_at, tone: 'queued', title: 'Queued' }];
  const attempts = job.tasks.flatMap((task) => task.attempts).sort((a, b) => a.assigned_at.localeCompare(b.assigned_at));
  for (const attempt of attempts) {
    const { worker, encoder, device } = attempt;
    const begun: Moment = { at: attempt.started_at ?? attempt.assigned_at, tone: 'running', title: `Attempt ${attempt.epoch} on`, worker };
    const how = [encoder, device].filter(Boolean).join(' on ');
    if (how) begun.text = how;
    if (attempt.command.length > 0) begun.command = attempt.command;
    moments.push(begun);
    if (attempt.state === 'disconnected') {
      moments.push({ at: attempt.started_at ?? attempt.assigned_at, tone: 'failed', title: 'Its connection broke', text: 'it may come back', worker });
    } else if (attempt.state !== 'running') {
      const [tone, title] = ENDS[attempt.state];
      const end: Moment = { at: attempt.finished_at ?? attempt.assigned_at, tone, title };
      const took = attempt.finished_at ? `after ${duration(between(attempt.started_at ?? attempt.assigned_at, attempt.finished_at))}` : '';
      const text = attempt.failure ? `${why(attempt.failure.kind)}: ${attempt.failure.message}` : took;
      if (text) end.text = text;
      moments.push(end);
    }
  }
  // What the last attempt says already is not said twice.
  if (job.finished_at && job.state !== 'succeeded') {
    const titles = { failed: 'Failed', dead: 'Given up: a dead letter', cancelled: 'Cancelled', queued: 'Queued', running: 'Running' };
    const end: Moment = { at: job.finished_at, tone: job.state, title: titles[job.state] };
    if (job.failure) end.text = job.failure.message;
    moments.push(end);
  }
  return moments;
}
