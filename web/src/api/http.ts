// Requests to the coordinator that these pages came from. What goes wrong is thrown as its problem document.

import { signal } from '@preact/signals';
import type { Problem } from './types';
import { heard } from '../state/clock';

/** Why the API wants a key, once it has said so. */
export const keyWanted = signal<string | null>(null);

export class ApiError extends Error {
  constructor(readonly problem: Problem) {
    super(problem.detail);
  }

  get status(): number {
    return this.problem.status;
  }
}

async function problemOf(response: Response, path: string): Promise<Problem> {
  const fallback = {
    type: 'about:blank',
    title: response.statusText || `status ${response.status}`,
    status: response.status,
    detail: `${path} answered ${response.status}`,
  };
  try {
    return { ...fallback, ...((await response.json()) as Partial<Problem>), status: response.status };
  } catch {
    return fallback;
  }
}

async function send(method: string, path: string, body?: unknown, signal?: AbortSignal): Promise<Response> {
  const headers: Record<string, string> = { accept: 'application/json' };
  // No other origin's page can send it, so a cookie alone changes nothing.
  if (method !== 'GET') headers['x-tvarr-page'] = '1';
  if (body !== undefined) headers['content-type'] = 'application/json';
  let response: Response;
  try {
    const payload = body === undefined ? null : JSON.stringify(body);
    response = await fetch(path, { method, headers, body: payload, signal: signal ?? null, credentials: 'same-origin' });
  } catch (error) {
    if (error instanceof DOMException && error.name === 'AbortError') throw error;
    throw new ApiError({
      type: 'about:blank',
      title: 'No connection',
      status: 0,
      detail: 'The coordinator does not answer.',
      remedy:
        method === 'GET'
          ? 'It is asked again as soon as it is back; everything that runs goes on meanwhile.'
          : 'When it is back, look whether this was done, and do it again if not.',
    });
  }
  heard(response.headers.get('date'));
  if (response.ok) return response;
  const problem = await problemOf(response, path);
  if (problem.status === 401 && path !== '/v1/session') keyWanted.value = problem.detail;
  throw new ApiError(problem);
}

export async function get<T>(path: string, signal?: AbortSignal): Promise<T> {
  return (await (await send('GET', path, undefined, signal)).json()) as T;
}

export async function change<T>(method: 'POST' | 'PUT' | 'PATCH' | 'DELETE', path: string, body?: unknown): Promise<T> {
  const response = await send(method, path, body);
  const text = await response.text();
  return (text === '' ? undefined : JSON.parse(text)) as T;
}

/** `undefined` where this coordinator has no such thing. */
export async function getIfThere<T>(path: string): Promise<T | undefined> {
  try {
    return await get<T>(path);
  } catch (error) {
    if (error instanceof ApiError && (error.status === 404 || error.status === 405)) return undefined;
    throw error;
  }
}

export function asProblem(error: unknown): Problem {
  if (error instanceof ApiError) return error.problem;
  const detail = error instanceof Error ? error.message : String(error);
  return { type: 'about:blank', title: 'The page stumbled', status: 0, detail };
}

/** A path with a query; what is empty is left out. */
export function withQuery(path: string, query: Record<string, string | number | undefined | null>): string {
  const given = Object.entries(query).filter(([, value]) => value !== undefined && value !== null && value !== '');
  if (given.length === 0) return path;
  return `${path}?${new URLSearchParams(given.map(([name, value]) => [name, String(value)]))}`;
}
