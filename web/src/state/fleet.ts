// The workers as they are, kept up to date by events.

import { computed, effect, signal } from '@preact/signals';
import { gap, onEvent } from '../api/events';
import { asProblem, get, withQuery } from '../api/http';
import { may, session } from '../api/session';
import type { Page, Problem, WorkerRow, WorkerState } from '../api/types';

export const workers = signal<ReadonlyMap<string, WorkerRow>>(new Map());
/** `null` until the first answer. */
export const fleetProblem = signal<Problem | null>(null);
export const fleetRead = signal(false);

/** Rows of one request. */
const PAGE = 500;
/** Most rows that a page keeps; a fleet is smaller. */
const MOST = 10_000;
/** While a coordinator sends no loads by event, the list is read again this often. */
const POLL_MS = 3000;
/** Events of one moment lead to one reading. */
const SETTLE_MS = 250;

let loadsCome = false;
let reading = false;
let again = false;

async function read(): Promise<void> {
  if (reading) {
    again = true;
    return;
  }
  reading = true;
  try {
    const rows = new Map<string, WorkerRow>();
    let cursor: string | null | undefined;
    do {
      const page: Page<WorkerRow> = await get(withQuery('/v1/workers', { limit: PAGE, cursor }));
      for (const row of page.items) rows.set(row.id, row);
      cursor = page.next_cursor;
    } while (cursor && rows.size < MOST);
    workers.value = rows;
    fleetProblem.value = null;
    fleetRead.value = true;
  } catch (error) {
    fleetProblem.value = asProblem(error);
  } finally {
    reading = false;
    if (again) {
      again = false;
      void read();
    }
  }
}

let timer = 0;
export function readFleet(delay = 0): void {
  window.clearTimeout(timer);
  timer = window.setTimeout(() => void read(), delay);
}

function put(changed: WorkerRow[]): void {
  const rows = new Map(workers.value);
  for (const row of changed) rows.set(row.id, { ...rows.get(row.id), ...row });
  workers.value = rows;
}

export function putWorker(row: WorkerRow): void {
  put([row]);
}

export function dropWorker(id: string): void {
  const rows = new Map(workers.value);
  rows.delete(id);
  workers.value = rows;
}

export function followFleet(): void {
  effect(() => {
    if (gap.value > 0 && session.value && may('admin')) readFleet();
  });
  onEvent((event) => {
    if (event.event === 'load') {
      loadsCome = true;
      put(event.workers);
    } else if (event.event === 'worker') {
      const row = workers.value.get(event.id);
      if (row) put([{ ...row, state: event.state }]);
      // Why, and what it runs, is in the list.
      readFleet(SETTLE_MS);
    }
  });
  window.setInterval(() => {
    if (!loadsCome && !document.hidden && session.value && may('admin')) readFleet();
  }, POLL_MS);
}

const ORDER: Record<WorkerState, number> = { quarantined: 0, lost: 1, draining: 2, online: 3 };

/** What needs somebody first, then by name. */
export const ordered = computed(() =>
  [...workers.value.values()].sort(
    (a, b) => ORDER[a.state] - ORDER[b.state] || a.name.localeCompare(b.name, undefined, { numeric: true }),
  ),
);

export interface Totals {
  states: Record<WorkerState, number>;
  cpu: [used: number, total: number];
  gpu: [used: number, total: number];
  jobs: [used: number, total: number];
  live: number;
}

/** Slots are those of workers that take work. */
export function totalsOf(rows: Iterable<WorkerRow>): Totals {
  const totals: Totals = {
    states: { online: 0, draining: 0, quarantined: 0, lost: 0 },
    cpu: [0, 0],
    gpu: [0, 0],
    jobs: [0, 0],
    live: 0,
  };
  for (const row of rows) {
    totals.states[row.state] += 1;
    if (row.state === 'lost') continue;
    totals.cpu[0] += row.cpu_jobs;
    totals.gpu[0] += row.gpu_jobs;
    totals.jobs[0] += row.jobs;
    totals.live += row.live_jobs;
    if (row.state !== 'online') continue;
    totals.cpu[1] += row.capacity.max_cpu_jobs;
    totals.gpu[1] += row.capacity.max_gpu_jobs;
    totals.jobs[1] += row.capacity.max_jobs;
  }
  return totals;
}

export const totals = computed(() => totalsOf(workers.value.values()));
