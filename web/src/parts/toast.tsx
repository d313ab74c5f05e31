// A word about what was just done.

import { signal } from '@preact/signals';

interface Word {
  id: number;
  text: string;
  bad: boolean;
}

const words = signal<Word[]>([]);
const GOOD_MS = 4000;
const BAD_MS = 12_000;
let last = 0;

export function say(text: string, bad = false): void {
  const id = ++last;
  words.value = [...words.value.slice(-3), { id, text, bad }];
  window.setTimeout(() => unsay(id), bad ? BAD_MS : GOOD_MS);
}

function unsay(id: number): void {
  words.value = words.value.filter((word) => word.id !== id);
}

export function Toasts() {
  return (
    <div class="toasts" role="status">
      {words.value.map((word) => (
        <div key={word.id} class={word.bad ? 'bad' : ''}>
          <span>{word.text}</span>
          <button type="button" class="quiet small" aria-label="Dismiss" onClick={() => unsay(word.id)}>
            ✕
          </button>
        </div>
      ))}
    </div>
  );
}
