// The workers and their totals as they are, kept up to date by events.

import { computed, signal } from '@preact/signals';
import { follow } from '../api/events';
import { get, withQuery } from '../api/http';
import type { FleetSummary, Page, Problem, Summary, WorkerRow, WorkerState } from '../api/types';

export const workers = signal<ReadonlyMap<string, WorkerRow>>(new Map());
/** `null` until the first answer. */
export const totals = signal<FleetSummary | null>(null);
/** Where workers connect to. */
export const workerPort = signal<Summary['worker_port']>(null);
export const fleetProblem = signal<Problem | null>(null);
export const fleetRead = signal(false);

/** Rows of one request. */
const PAGE = 1000;
/** Most rows that a page keeps; a fleet is smaller. */
const MOST = 10_000;

async function readRows(): Promise<Map<string, WorkerRow>> {
  const rows = new Map<string, WorkerRow>();
  let cursor: string | null | undefined;
  do {
    const page: Page<WorkerRow> = await get(withQuery('/v1/workers', { limit: PAGE, cursor }));
    for (const row of page.items) rows.set(row.id, row);
    cursor = page.next_cursor;
  } while (cursor && rows.size < MOST);
  return rows;
}

function put(changed: WorkerRow[], gone: string[]): void {
  const rows = new Map(workers.value);
  for (const row of changed) rows.set(row.id, row);
  for (const id of gone) rows.delete(id);
  workers.value = rows;
}

export function dropWorker(id: string): void {
  put([], [id]);
}

export function followFleet(): void {
  const fail = (problem: Problem) => (fleetProblem.value = problem);
  follow({
    subject: 'load',
    read: readRows,
    put: (rows) => {
      workers.value = rows;
      fleetProblem.value = null;
      fleetRead.value = true;
    },
    hear: (event) => {
      if (event.event === 'load') put(event.workers, event.gone);
      // At once; why comes with its row.
      const row = event.event === 'worker' && workers.value.get(event.id);
      if (row && event.event === 'worker' && row.state !== event.state) put([{ ...row, state: event.state, reason: null }], []);
    },
    fail,
  });
  follow({
    subject: 'summary',
    read: () => get<Summary>('/v1/summary'),
    put: (summary) => {
      totals.value = summary;
      workerPort.value = summary.worker_port ?? null;
    },
    hear: (event) => {
      if (event.event === 'summary') totals.value = event;
    },
    fail,
  });
}

const ORDER: Record<WorkerState, number> = { quarantined: 0, lost: 1, draining: 2, online: 3 };
const names = new Intl.Collator(undefined, { numeric: true });

/** What needs somebody first, then by name. */
export const ordered = computed(() =>
  [...workers.value.values()].sort((a, b) => ORDER[a.state] - ORDER[b.state] || names.compare(a.name, b.name)),
);

/** Of the rows that are listed, so that a state and what is shown of it agree. */
export const states = computed(() => {
  const count: Record<WorkerState, number> = { online: 0, draining: 0, quarantined: 0, lost: 0 };
  for (const row of workers.value.values()) count[row.state] += 1;
  return count;
});
