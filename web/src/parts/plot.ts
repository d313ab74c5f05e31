// uPlot as these pages use it. Loaded when the first plot is shown.

import uPlot from 'uplot';
import 'uplot/dist/uPlot.min.css';

/** Seconds between marks: they say hours and minutes. */
const MARKS = [1, 2, 5, 10, 15, 20, 30, 60].map((minutes) => minutes * 60);

function minute(at: number): string {
  return new Date(at * 1000).toLocaleTimeString(undefined, { hour: '2-digit', minute: '2-digit', hour12: false });
}

export function draw(box: HTMLElement, data: [number[], (number | null)[]], top?: number): uPlot {
  const style = getComputedStyle(box);
  const colour = (name: string) => style.getPropertyValue(name).trim();
  const font = '11px system-ui, sans-serif';
  return new uPlot(
    {
      width: box.clientWidth,
      height: 84,
      cursor: { y: false, points: { size: 5 } },
      legend: { show: false },
      scales: { y: { range: (_, __, most) => [0, top ?? Math.max(10, most * 1.15)] } },
      axes: [
        { stroke: colour('--dim'), grid: { show: false }, ticks: { show: false }, size: 18, font, incrs: MARKS, values: (_, marks) => marks.map(minute) },
        { stroke: colour('--dim'), grid: { stroke: colour('--line'), width: 1 }, ticks: { show: false }, size: 34, font, space: 24 },
      ],
      series: [{}, { stroke: colour('--accent'), width: 1.5, fill: colour('--accent-soft'), points: { show: false } }],
    },
    data,
    box,
  );
}
