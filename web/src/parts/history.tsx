// A worker's last hour as plots: what the coordinator remembers, or what this page has seen.

import { useEffect, useRef, useState } from 'preact/hooks';
import { getIfThere } from '../api/http';
import type { WorkerView } from '../api/types';

/** A moment: seconds since the Unix epoch, CPU 0 to 100, frames a second, jobs. */
type Sample = [at: number, cpu: number, fps: number, jobs: number];

export interface Step {
  at: string;
  cpu?: number | null;
  fps?: number | null;
  jobs?: number | null;
}

const READ_MS = 10_000;
const MOST = 1800;
const seen = new Map<string, Sample[]>();

export function samples(steps: Step[]): Sample[] {
  const at = (step: Step) => new Date(step.at).getTime() / 1000;
  return steps.map((step): Sample => [at(step), (step.cpu ?? 0) * 100, step.fps ?? 0, step.jobs ?? 0]);
}

function sample(worker: WorkerView): Sample {
  const rates = [...worker.running, ...worker.live].map((attempt) => attempt.progress?.fps ?? 0);
  return [Date.now() / 1000, worker.load.cpu * 100, rates.reduce((sum, rate) => sum + rate, 0), worker.jobs];
}

export function History({ worker }: { worker: WorkerView }) {
  const [told, setTold] = useState<Sample[] | null>(null);
  const own = seen.get(worker.id) ?? [];
  if (worker.state !== 'lost') {
    const next = sample(worker);
    if (next[0] - (own.at(-1)?.[0] ?? 0) > 1) seen.set(worker.id, [...own.slice(-MOST), next]);
  }
  useEffect(() => {
    let over = false;
    const read = async () => {
      const view = await getIfThere<{ steps: Step[] }>(`/v1/workers/${worker.id}/history`).catch(() => undefined);
      if (!over && view) setTold(samples(view.steps));
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
  }, [worker.id]);
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
  points: [number, number][];
}

type Chart = import('uplot');

function Plot({ name, unit, top, points }: PlotProps) {
  const box = useRef<HTMLDivElement>(null);
  const chart = useRef<Chart | null>(null);
  const latest = points.at(-1)?.[1] ?? 0;
  const columns: [number[], number[]] = [points.map(([at]) => at), points.map(([, value]) => value)];
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
