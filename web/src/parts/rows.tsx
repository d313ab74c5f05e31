// A table of any length: only the rows near the view are in the document.

import type { ComponentChildren, VNode } from 'preact';
import { useLayoutEffect, useRef, useState } from 'preact/hooks';
import { visible, type Span } from '../window';

interface Props<T> {
  label: string;
  class: string;
  head: ComponentChildren;
  items: T[];
  row: (item: T) => VNode;
  /** The end came near. */
  onEnd?: () => void;
}

/** Rows are as high as `--row` says where the table is. */
export function Rows<T>({ label, class: name, head, items, row, onEnd }: Props<T>) {
  const body = useRef<HTMLTableSectionElement>(null);
  const [span, setSpan] = useState<Span>({ first: 0, last: 40 });
  const [height, setHeight] = useState(52);
  useLayoutEffect(() => {
    const look = () => {
      const element = body.current;
      if (!element) return;
      const row = parseFloat(getComputedStyle(element).getPropertyValue('--row')) || 52;
      const next = visible(items.length, row, Math.max(0, -element.getBoundingClientRect().top), window.innerHeight);
      setHeight(row);
      setSpan((span) => (span.first === next.first && span.last === next.last ? span : next));
      if (next.last >= items.length) onEnd?.();
    };
    look();
    window.addEventListener('scroll', look, { passive: true });
    window.addEventListener('resize', look);
    return () => {
      window.removeEventListener('scroll', look);
      window.removeEventListener('resize', look);
    };
  }, [items.length, onEnd]);
  const first = Math.min(span.first, items.length);
  const last = Math.min(span.last, items.length);
  const space = (rows: number) =>
    rows > 0 && (
      // One cell: spanning columns that a narrow list leaves out would make them anew.
      <tr class="space" aria-hidden="true">
        <td style={{ height: `${rows * height}px` }} />
      </tr>
    );
  return (
    <table class={`rows ${name}`} aria-label={label} aria-rowcount={items.length + 1}>
      <thead>
        <tr>{head}</tr>
      </thead>
      <tbody ref={body}>
        {space(first)}
        {items.slice(first, last).map(row)}
        {space(items.length - last)}
      </tbody>
    </table>
  );
}
