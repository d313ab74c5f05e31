// Live streams as a list.

import type { StreamView } from '../api/types';

/** In its place, or behind the others, as the list has them. */
export function withStream(known: StreamView[], stream: StreamView): StreamView[] {
  const there = known.some(({ id }) => id === stream.id);
  return there ? known.map((each) => (each.id === stream.id ? stream : each)) : [...known, stream];
}
