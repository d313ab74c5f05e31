// What is around every page.

import type { ComponentChildren } from 'preact';
import { line } from '../api/events';
import { may, session, signOut } from '../api/session';
import { route, url } from '../router';
import { Action } from './basic';

const PAGES = [
  { at: '', name: 'Transcoders', scope: 'admin' },
  { at: 'jobs', name: 'Jobs', scope: 'read' },
  { at: 'streams', name: 'Streams', scope: 'view' },
] as const;

const LINES = { connecting: 'connecting', open: 'live', broken: 'not connected' };

/** The page that an address leads to. */
export function pageAt(first: string | undefined): string {
  return first === 'jobs' || first === 'streams' ? first : '';
}

export function Layout({ children }: { children: ComponentChildren }) {
  const here = pageAt(route.value.path[0]);
  const who = session.value?.who;
  return (
    <>
      <a class="skip" href="#main">
        To the content
      </a>
      <header class="top">
        <a class="brand" href={url('/')} aria-label="tvarr, all transcoders">
          tvarr
        </a>
        <nav aria-label="Pages">
          {PAGES.filter(({ scope }) => may(scope)).map(({ at, name }) => (
            <a key={at} href={url(`/${at}`)} aria-current={here === at ? 'page' : undefined}>
              {name}
            </a>
          ))}
        </nav>
        <span class={`line is-${line.value}`} role="status">
          <i aria-hidden="true" />
          {LINES[line.value]}
        </span>
        {session.value?.keys && who && (
          <span class="who">
            <span class="dim" title={who.scopes.join(', ')}>
              {who.name ?? who.owner ?? 'administrator'}
            </span>
            <Action label="Sign out" kind="quiet" run={signOut} />
          </span>
        )}
      </header>
      {line.value === 'broken' && (
        <div class="banner" role="alert">
          The coordinator does not answer. What is shown is what was known last; it goes on by itself.
        </div>
      )}
      <main id="main" tabIndex={-1}>
        {children}
      </main>
    </>
  );
}
