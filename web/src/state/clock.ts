// The time, by the second, for what counts up or down while nothing else happens.

import { signal } from '@preact/signals';

export const now = signal(Date.now());

export function startClock(): void {
  window.setInterval(() => {
    if (!document.hidden) now.value = Date.now();
  }, 1000);
  document.addEventListener('visibilitychange', () => (now.value = Date.now()));
}
