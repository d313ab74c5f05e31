// What opens beside a list: the focus goes there and comes back, and Escape closes it.

import type { ComponentChildren } from 'preact';
import { useEffect, useRef } from 'preact/hooks';

interface Props {
  title: string;
  /** Beside the title. */
  mark?: ComponentChildren;
  onClose: () => void;
  children: ComponentChildren;
}

export function Panel({ title, mark, onClose, children }: Props) {
  const section = useRef<HTMLElement>(null);
  useEffect(() => {
    const panel = section.current;
    const address = location.pathname + location.search;
    panel?.focus({ preventScroll: true });
    return () => {
      // Unless somebody has gone elsewhere by now.
      if (!panel?.contains(document.activeElement)) return;
      // A narrow page shows the list again first.
      window.setTimeout(() => document.querySelector<HTMLElement>(`main a[href="${CSS.escape(address)}"]`)?.focus());
    };
  }, []);
  const key = (event: KeyboardEvent) => {
    if (event.key === 'Escape' && !(event.target instanceof HTMLInputElement)) onClose();
  };
  return (
    <section ref={section} class="panel" tabIndex={-1} aria-label={title} onKeyDown={key}>
      <header>
        <div>
          <h2>{title}</h2>
          {mark}
        </div>
        <button type="button" class="quiet" onClick={onClose} aria-label="Close">
          ✕
        </button>
      </header>
      {children}
    </section>
  );
}
