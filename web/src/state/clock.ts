// The coordinator's time, by the second, for what counts up or down while nothing else happens.

import { signal } from '@preact/signals';

/** Answers say the time in whole seconds, and take their time: nearer than that nobody knows it. */
const KNOWN_MS = 2000;
/** How much later it is there than on this machine, whose clock may be wrong, or the coordinator's. */
let later = 0;

/** Milliseconds since the Unix epoch. */
export function time(): number {
  return Date.now() + later;
}

export const now = signal(time());

/** Takes in what the coordinator says the time is: a `Date` header. */
export function heard(date: string | null): void {
  const said = Date.parse(date ?? '') - Date.now();
  if (Math.abs(said - later) <= KNOWN_MS || Number.isNaN(said)) return;
  later = said;
  now.value = time();
}

export function startClock(): void {
  window.setInterval(() => {
    if (!document.hidden) now.value = time();
  }, 1000);
  document.addEventListener('visibilitychange', () => (now.value = time()));
}
