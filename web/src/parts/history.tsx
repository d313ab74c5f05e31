// A worker's last hour as plots: what the coordinator remembers, or what this page has seen.

import { signal } from '@preact/signals';
import { useEffect, useRef } from 'preact/hooks';
import { follow } from '../api/events';
import { get } from '../api/http';
import type { Series, WorkerHistory, WorkerView } from '../api/types';
import { time } from '../state/clock';

/** A moment: seconds since the Unix epoch, CPU 0 to 100, frames a second, jobs. */
type Sample = [at: number, cpu: number | null, fps: number | null, jobs: number | null];

const MOST = 1800;

/** The last ten minutes in fine steps, and what was before them in coarse ones. */
export function samples({ hour, minutes }: WorkerHistory): Sample[] {
  const fine = read(minutes);
  const begin = fine[0]?.[0] ?? Infinity;
  return [...read(hour).filter(([at]) => at < begin), ...fine];
}

function read({ from, step_seconds, cpu, fps, jobs }: Series): Sample[] {
  const begin = new Date(from).getTime() / 1000;
  const times = (value: number | null | undefined, by: number) => (value == null ? null : value * by);
  return cpu.map((value, step) => [begin + step * step_seconds, times(value, 100), times(fps[step], 1), times(jobs[step], 1)]);
}

function sample(worker: WorkerView): Sample {
  const rates = [...worker.running, ...worker.live].map((attempt) => attempt.progress?.fps ?? 0);
  return [time() / 1000, worker.load.cpu * 100, rates.reduce((sum, rate) => sum + rate, 0), worker.jobs];
}

/** What is remembered of a worker begins where the coordinator's memory was read, and goes on with every event. */
const known = signal<ReadonlyMap<string, Sample[]>>(new Map());

function put(id: string, samples: Sample[]): void {
  known.value = new Map(known.value).set(id, samples.slice(-MOST));
}

/** Takes in what an event says. */
export function note(worker: WorkerView): void {
  const seen = known.value.get(worker.id) ?? [];
  const next = sample(worker);
  // One that is lost has no load.
  if (worker.state !== 'lost' && next[0] - (seen.at(-1)?.[0] ?? 0) > 1) put(worker.id, [...seen, next]);
}

export function History({ worker: { id, capacity } }: { worker: WorkerView }) {
  useEffect(
    () =>
      follow({
        subject: 'detail',
        read: () => get<WorkerHistory>(`/v1/workers/${id}/history`),
        put: (history) => put(id, samples(history)),
        hear: () => undefined,
        // The plots begin with the next figures then.
        fail: () => undefined,
      }),
    [id],
  );
  const seen = known.value.get(id) ?? [];
  if (seen.length < 2) return <p class="dim">It begins with the next figures.</p>;
  return (
    <div class="plots">
      <Plot name="CPU" unit="%" top={100} points={seen.map((each) => [each[0], each[1]])} />
      <Plot name="Frames a second" unit="fps" points={seen.map((each) => [each[0], each[2]])} />
      <Plot name="Jobs" unit="" top={capacity.max_jobs} points={seen.map((each) => [each[0], each[3]])} />
    </div>
  );
}

interface PlotProps {
  name: string;
  unit: string;
  top?: number;
  points: [number, number | null][];
}

type Chart = import('uplot');

function Plot({ name, unit, top, points }: PlotProps) {
  const box = useRef<HTMLDivElement>(null);
  const chart = useRef<Chart | null>(null);
  const latest = [...points].reverse().find(([, value]) => value !== null)?.[1] ?? 0;
  const columns: [number[], (number | null)[]] = [points.map(([at]) => at), points.map(([, value]) => value)];
  const data = useRef(columns);
  data.current = columns;
  useEffect(() => {
    let over = false;
    let observer: ResizeObserver | undefined;
    void import('./plot').then(({ draw }) => {
      const element = box.current;
      if (over || !element) return;
      chart.current = draw(element, data.current, top);
      observer = new ResizeObserver(() => chart.current?.setSize({ width: element.clientWidth, height: 84 }));
      observer.observe(element);
    });
    return () => {
      over = true;
      observer?.disconnect();
      chart.current?.destroy();
      chart.current = null;
    };
  }, [top]);
  useEffect(() => chart.current?.setData(columns));
  return (
    <figure>
      <figcaption>
        {name}
        <b class="num">
          {Math.round(latest)} {unit}
        </b>
      </figcaption>
      <div ref={box} class="plot" role="img" aria-label={`${name} over time, ${Math.round(latest)} ${unit} at the end`} />
    </figure>
  );
}
