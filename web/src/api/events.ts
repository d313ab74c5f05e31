// The one stream of events. A page asks for the topics that it shows; after a gap it reads again what they are about.

import { signal, type Signal } from '@preact/signals';
import { asProblem } from './http';
import type { FarmEvent, Problem } from './types';

export type Line = 'connecting' | 'open' | 'broken';
export type Topic = 'jobs' | 'progress' | 'workers' | 'load' | 'streams' | 'summary';

/** What a page wants to hear of. */
export interface Wish {
  topics: Topic[];
  /** Of jobs and progress this one alone. */
  job?: string | undefined;
  /** Everything about this worker, too. */
  worker?: string | undefined;
}

export const line = signal<Line>('connecting');

type Subject = Topic | 'detail';
const gaps: Record<Subject, Signal<number>> = {
  jobs: signal(0),
  progress: signal(0),
  workers: signal(0),
  load: signal(0),
  streams: signal(0),
  summary: signal(0),
  detail: signal(0),
};
const SUBJECTS = Object.keys(gaps) as Subject[];
const NAMES = ['job', 'progress', 'worker', 'load', 'detail', 'stream', 'stream_gone', 'summary', 'lagged'] as const;
/** Browsers try again by themselves while the connection breaks, and give up when it is refused. */
const AGAIN_MS = 2000;
/** Lists are read without the events if those do not come by then. */
const PATIENCE_MS = 1000;
/** Browsers open six connections to a coordinator, all tabs together: one that is out of sight for so long gives its own back. */
const HIDDEN_MS = 60_000;

type Listener = (event: FarmEvent) => void;
const listeners = new Set<Listener>();

interface Stream {
  source: EventSource;
  /** What it tells of, by subject; the same text means the same. */
  about: ReadonlyMap<Subject, string>;
  open: boolean;
}

let count = 0;
let wish: Wish | null = null;
/** The newest one, and the one before until the newest is open. */
let stream: Stream | null = null;
let before: Stream | null = null;
/** It was refused, as when the job or worker that it names is not there. */
let plain = false;
let refused = (): Promise<void> => Promise.resolve();
let again = 0;
let patience = 0;
let hidden = 0;

function onEvent(listener: Listener): () => void {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

function missed(subjects: Iterable<Subject>): void {
  count += 1;
  for (const subject of subjects) gaps[subject].value = count;
}

function aboutOf({ topics, job = '', worker }: Wish): Map<Subject, string> {
  const about = new Map<Subject, string>(topics.map((topic) => [topic, topic === 'jobs' || topic === 'progress' ? job : '']));
  if (worker) about.set('detail', worker);
  return about;
}

function addressOf({ topics, job, worker }: Wish): string {
  const query = new URLSearchParams({ topics: topics.join(',') });
  if (job && !plain) query.set('job', job);
  if (worker && !plain) query.set('worker', worker);
  return `/v1/events?${query}`;
}

/** What is known of it is read once more. */
export function readAgain(subject: Subject): void {
  missed([subject]);
}

/** `onRefused` finds out why the coordinator does not want to tell anything. */
export function listen(next: Wish, onRefused: () => Promise<void>): void {
  if (wish && stream && JSON.stringify(wish) === JSON.stringify(next)) return;
  wish = next;
  refused = onRefused;
  plain = false;
  open();
}

function open(): void {
  window.clearTimeout(again);
  window.clearTimeout(patience);
  if (!wish || document.hidden) return;
  // What is told of already goes on while the new one opens.
  if (stream?.open) {
    before?.source.close();
    before = stream;
  } else {
    stream?.source.close();
  }
  const about = aboutOf(wish);
  for (const subject of SUBJECTS) {
    if (before?.about.get(subject) !== about.get(subject)) gaps[subject].value = 0;
  }
  const source = new EventSource(addressOf(wish));
  const mine: Stream = { source, about, open: false };
  stream = mine;
  const unheard = () => [...about].filter(([subject, text]) => before?.about.get(subject) !== text).map(([subject]) => subject);
  patience = window.setTimeout(() => missed(unheard()), PATIENCE_MS);
  source.onopen = () => {
    window.clearTimeout(patience);
    line.value = 'open';
    mine.open = true;
    missed(unheard());
    before?.source.close();
    before = null;
  };
  source.onerror = () => {
    if (mine !== stream) return;
    mine.open = false;
    if (!before) line.value = 'broken';
    if (source.readyState === EventSource.CLOSED) {
      plain = !plain;
      again = window.setTimeout(() => void refused().then(open), AGAIN_MS);
    }
  };
  hear(mine);
}

function hear(from: Stream): void {
  for (const name of NAMES) {
    from.source.addEventListener(name, (message) => {
      const event = JSON.parse((message as MessageEvent<string>).data) as FarmEvent;
      if (event.event === 'lagged') missed(from.about.keys());
      else for (const listener of listeners) listener(event);
    });
  }
}

/** Until `listen` is called again. */
export function hush(): void {
  wish = null;
  close();
}

function close(): void {
  window.clearTimeout(again);
  window.clearTimeout(patience);
  stream?.source.close();
  before?.source.close();
  stream = null;
  before = null;
}

export function restWhileHidden(): void {
  document.addEventListener('visibilitychange', () => {
    window.clearTimeout(hidden);
    if (document.hidden) hidden = window.setTimeout(close, HIDDEN_MS);
    else if (!stream) open();
  });
}

interface Followed<T> {
  subject: Subject;
  read: () => Promise<T>;
  put: (read: T) => void;
  hear: Listener;
  fail: (problem: Problem) => void;
}

/**
 * Reads something when its events begin or were missed, and keeps it as they tell. What they tell while it is read comes after it
 * once more, as it may be older than they are. Returns how to end it.
 */
export function follow<T>({ subject, read, put, hear, fail }: Followed<T>): () => void {
  let over = false;
  let meanwhile: FarmEvent[] | null = null;
  let once = 0;
  let timer = 0;
  const start = async () => {
    const mine = ++once;
    window.clearTimeout(timer);
    meanwhile = [];
    try {
      const found = await read();
      if (over || mine !== once) return;
      put(found);
      for (const event of meanwhile) hear(event);
    } catch (error) {
      if (over || mine !== once) return;
      const problem = asProblem(error);
      fail(problem);
      // Without a connection it is read when the events come again.
      if (problem.status >= 500 || problem.status === 429) timer = window.setTimeout(() => void start(), AGAIN_MS);
    }
    meanwhile = null;
  };
  const stop = gaps[subject].subscribe((gap) => {
    if (gap > 0) void start();
  });
  const hushed = onEvent((event) => {
    hear(event);
    meanwhile?.push(event);
  });
  return () => {
    over = true;
    window.clearTimeout(timer);
    stop();
    hushed();
  };
}
