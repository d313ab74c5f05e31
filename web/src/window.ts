// Which rows of a long list are worth drawing.

export interface Span {
  first: number;
  /** Exclusive. */
  last: number;
}

/** Rows drawn beyond what is seen, so that a flick shows no hole. */
const BEYOND = 8;

/** `top`: pixels of the list that are above the view. */
export function visible(rows: number, height: number, top: number, view: number): Span {
  const first = Math.min(rows, Math.max(0, Math.floor(top / height) - BEYOND));
  const last = Math.min(rows, Math.ceil((top + view) / height) + BEYOND);
  return { first, last: Math.max(first, last) };
}
