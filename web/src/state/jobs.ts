// Jobs that fit a filter, kept up to date by events.

import { signal } from '@preact/signals';
import { follow, readAgain } from '../api/events';
import { asProblem, change, get, withQuery } from '../api/http';
import type { JobState, JobSummary, Page, Problem, Redriven } from '../api/types';

const PAGE = 100;
/** Jobs that may come on top of those that were read, before the list begins anew: a page may stay open for weeks. */
const MOST_NEW = 1000;

export interface JobFilter {
  state?: string | undefined;
  owner?: string | undefined;
  preset?: string | undefined;
  worker?: string | undefined;
  text?: string | undefined;
}

/** Whether a job that an event tells of belongs into a list. */
export function fits(job: JobSummary, filter: JobFilter): boolean {
  const states = filter.state?.split(',').filter(Boolean) ?? [];
  if (states.length > 0 && !states.includes(job.state)) return false;
  if (filter.owner && job.owner !== filter.owner) return false;
  if (filter.preset && job.preset !== filter.preset) return false;
  if (filter.worker && job.worker?.name !== filter.worker) return false;
  if (!filter.text) return true;
  const text = filter.text.toLowerCase();
  return job.input.toLowerCase().includes(text) || job.id.includes(text);
}

function replaced<T>(list: T[], at: number, item: T): T[] {
  return list.map((each, index) => (index === at ? item : each));
}

/** Newest first: their ids begin with the time. */
export function merge(jobs: JobSummary[], job: JobSummary): JobSummary[] {
  const at = jobs.findIndex((known) => known.id <= job.id);
  if (at >= 0 && jobs[at]?.id === job.id) return replaced(jobs, at, job);
  return at < 0 ? jobs : [...jobs.slice(0, at), job, ...jobs.slice(at)];
}

/** A list of jobs as it is shown, from the newest down to where somebody has looked. */
export class JobList {
  readonly jobs = signal<JobSummary[]>([]);
  readonly problem = signal<Problem | null>(null);
  readonly read = signal(false);
  readonly more = signal(false);
  private cursor: string | null = null;
  private busy = false;
  /** How many were read and not told of. */
  private fromPages = 0;
  private stopped = false;
  private readonly stop: () => void;

  constructor(private readonly filter: JobFilter) {
    this.stop = follow({
      subject: 'jobs',
      read: () => this.ask(null),
      put: (page) => {
        this.jobs.value = page.items;
        this.fromPages = page.items.length;
        this.cursor = page.next_cursor ?? null;
        this.more.value = this.cursor !== null;
        this.problem.value = null;
        this.read.value = true;
      },
      hear: (event) => {
        if (event.event === 'job') this.take(event.job);
        else if (event.event === 'progress') this.progress(event.job, event.progress);
      },
      fail: (problem) => (this.problem.value = problem),
    });
  }

  end(): void {
    this.stopped = true;
    this.stop();
  }

  private take(job: JobSummary): void {
    const jobs = this.jobs.peek();
    if (!fits(job, this.filter)) {
      if (jobs.some((known) => known.id === job.id)) this.jobs.value = jobs.filter((known) => known.id !== job.id);
      return;
    }
    // The end of the list is not known while there is more.
    const oldest = jobs.at(-1);
    if (!oldest) this.jobs.value = [job];
    else if (job.id < oldest.id && !this.more.peek()) this.jobs.value = [...jobs, job];
    else this.jobs.value = merge(jobs, job);
    // Once, until they are there.
    if (this.jobs.peek().length > this.fromPages + MOST_NEW) {
      this.fromPages = Infinity;
      readAgain('jobs');
    }
  }

  private progress(id: string, progress: JobSummary['progress']): void {
    const jobs = this.jobs.peek();
    const at = jobs.findIndex((job) => job.id === id);
    const job = jobs[at];
    if (job) this.jobs.value = replaced(jobs, at, { ...job, progress });
  }

  private ask(cursor: string | null): Promise<Page<JobSummary>> {
    return get(withQuery('/v1/jobs', { ...this.filter, limit: PAGE, cursor }));
  }

  async next(): Promise<void> {
    if (this.busy || !this.cursor) return;
    this.busy = true;
    try {
      const { cursor } = this;
      const page = await this.ask(cursor);
      // The list may have begun anew meanwhile.
      if (this.stopped || cursor !== this.cursor) return;
      this.jobs.value = [...this.jobs.peek(), ...page.items];
      this.fromPages += page.items.length;
      this.cursor = page.next_cursor ?? null;
      this.more.value = this.cursor !== null;
    } catch (error) {
      this.problem.value = asProblem(error);
    } finally {
      this.busy = false;
    }
  }
}

/** Queues every dead letter that fits again; not only those that the page has read. */
export async function redrive({ preset, owner, worker, text }: JobFilter): Promise<Redriven> {
  const all: Redriven = { jobs: [], refused: [] };
  let cursor: string | null | undefined;
  do {
    const conditions = Object.entries({ preset, owner, worker, text, cursor }).filter(([, value]) => value);
    const page: Redriven = await change('POST', '/v1/jobs/redrive', Object.fromEntries(conditions));
    all.jobs.push(...page.jobs);
    all.refused.push(...page.refused);
    cursor = page.next_cursor;
  } while (cursor);
  return all;
}

export const FINAL: ReadonlySet<JobState> = new Set(['succeeded', 'failed', 'cancelled', 'dead']);
