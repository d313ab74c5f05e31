// Which page is shown: the address below /ui/, and nothing else.

import { signal } from '@preact/signals';
import { decoded } from './format';

const BASE = '/ui';

function here(): { path: string[]; query: URLSearchParams } {
  const path = location.pathname.startsWith(BASE) ? location.pathname.slice(BASE.length) : location.pathname;
  return { path: path.split('/').filter(Boolean).map(decoded), query: new URLSearchParams(location.search) };
}

export const route = signal(here());

export function url(path: string, query: Record<string, string | undefined> = {}): string {
  const given = Object.entries(query).filter((entry): entry is [string, string] => Boolean(entry[1]));
  return `${BASE}${path}${given.length ? `?${new URLSearchParams(given)}` : ''}`;
}

export function go(to: string, replace = false): void {
  if (replace) history.replaceState(null, '', to);
  else history.pushState(null, '', to);
  const before = route.value.path[0];
  route.value = here();
  if (!replace && route.value.path[0] !== before) window.scrollTo(0, 0);
}

export function startRouter(): void {
  window.addEventListener('popstate', () => (route.value = here()));
  document.addEventListener('click', (event) => {
    if (event.defaultPrevented || event.button !== 0 || event.metaKey || event.ctrlKey || event.shiftKey) return;
    const link = (event.target as Element).closest<HTMLAnchorElement>('a[href]');
    if (!link || link.target || link.hasAttribute('download') || link.origin !== location.origin) return;
    if (!link.pathname.startsWith(`${BASE}/`)) return;
    event.preventDefault();
    go(link.pathname + link.search);
  });
}
