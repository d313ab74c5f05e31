// The one stream of events. Who wants to hear of something subscribes; after a gap everybody reads its lists again.

import { signal } from '@preact/signals';
import type { FarmEvent } from './types';

export type Line = 'connecting' | 'open' | 'broken';

export const line = signal<Line>('connecting');
/** Grows whenever events may have been missed: what was read before is to be read again. */
export const gap = signal(0);

const NAMES = ['job', 'progress', 'worker', 'load', 'lagged'] as const;
/** Browsers try again by themselves while the connection breaks, and give up when it is refused. */
const AGAIN_MS = 2000;

type Listener = (event: FarmEvent) => void;
const listeners = new Set<Listener>();
let source: EventSource | null = null;
let timer = 0;

export function onEvent(listener: Listener): () => void {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

export function listen(): void {
  hush();
  source = new EventSource('/v1/events?topics=jobs,workers,fleet,streams');
  source.onopen = () => {
    line.value = 'open';
    // The lists were read before this stream began, or while it was broken.
    gap.value += 1;
  };
  source.onerror = () => {
    line.value = 'broken';
    if (source?.readyState === EventSource.CLOSED) timer = window.setTimeout(listen, AGAIN_MS);
  };
  for (const name of NAMES) {
    source.addEventListener(name, (message) => {
      const event = JSON.parse((message as MessageEvent<string>).data) as FarmEvent;
      if (event.event === 'lagged') gap.value += 1;
      else for (const listener of listeners) listener(event);
    });
  }
}

export function hush(): void {
  window.clearTimeout(timer);
  source?.close();
  source = null;
}
