// Who looks at the pages, and what that one may do.

import { computed, signal } from '@preact/signals';
import { change, get, getIfThere, keyWanted } from './http';
import type { Scope, SessionView } from './types';

export const session = signal<SessionView | null>(null);

export async function loadSession(): Promise<void> {
  const view = await getIfThere<SessionView>('/v1/session');
  if (view) {
    session.value = view;
    keyWanted.value = view.who ? null : (view.reason ?? 'This needs an API key.');
    return;
  }
  // A coordinator without sign-in: whoever gets an answer may do everything.
  await get('/v1/presets');
  session.value = { keys: false, who: { scopes: ['admin', 'read', 'submit', 'view'] } };
}

export async function signIn(key: string): Promise<void> {
  await change('POST', '/v1/session', { key });
  await loadSession();
}

export async function signOut(): Promise<void> {
  await change('DELETE', '/v1/session');
  // From the beginning: nothing that was seen stays in memory.
  location.assign('/ui/');
}

const scopes = computed(() => session.value?.who?.scopes ?? []);

export function may(scope: Scope): boolean {
  return scopes.value.includes(scope) || scopes.value.includes('admin');
}
