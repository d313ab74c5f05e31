// A worker's last hour as plots: what the coordinator remembers, or what this page has seen.

import { useEffect, useRef, useState } from 'preact/hooks';
import { getIfThere } from '../api/http';
import type { Series, WorkerHistory, WorkerView } from '../api/types';

/** A moment: seconds since the Unix epoch, CPU 0 to 100, frames a second, jobs. */
type Sample = [at: number, cpu: number | null, fps: number | null, jobs: number | null];

const READ_MS = 10_000;
const MOST = 1800;
const seen = new Map<string, Sample[]>();

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
  return [Date.now() / 1000, worker.load.cpu * 100, rates.reduce((sum, rate) => sum + rate, 0), worker.jobs];
}

export function History({ worker }: { worker: WorkerView }) {
  const [told, setTold] = useState<Sample[] | null>(null);
  const own = seen.get(worker.id) ?? [];
  // It came with the devices' loads; a coordinator without them is not asked.
  const remembered = worker.gpus !== undefined;
  if (worker.state !== 'lost') {
    const next = sample(worker);
    if (next[0] - (own.at(-1)?.[0] ?? 0) > 1) seen.set(worker.id, [...own.slice(-MOST), next]);
  }
  useEffect(() => {
    if (!remembered) return;
    let over = false;
    const read = async () => {
      const view = await getIfThere<WorkerHistory>(`/v1/workers/${worker.id}/history`).catch(() => undefined);
      if (!over && view) setTold(samples(view));
      return view !== undefined;
    };
    let timer = 0;
    void read().then((there) => {
      if (there && !over) timer = window.setInterval(() => void read(), READ_MS);
    });
    return () => {
      over = true;
      window.clearInterval(timer);
    };
  }, [worker.id, remembered]);
  const points = told ?? seen.get(worker.id) ?? [];
  if (points.length < 2) return <p class="dim">It begins with the next figures.</p>;
  return (
    <div class="plots">
      <Plot name="CPU" unit="%" top={100} points={points.map((each) => [each[0], each[1]])} />
      <Plot name="Frames a second" unit="fps" points={points.map((each) => [each[0], each[2]])} />
      <Plot name="Jobs" unit="" top={worker.capacity.max_jobs} points={points.map((each) => [each[0], each[3]])} />
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
