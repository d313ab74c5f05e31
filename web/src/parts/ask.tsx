// A question before what cannot be taken back.

import { signal } from '@preact/signals';
import { useEffect, useRef } from 'preact/hooks';

interface Question {
  title: string;
  text: string;
  yes: string;
  answer: (sure: boolean) => void;
}

const question = signal<Question | null>(null);

export function ask(title: string, text: string, yes: string): Promise<boolean> {
  question.value?.answer(false);
  return new Promise((resolve) => (question.value = { title, text, yes, answer: resolve }));
}

export function Asking() {
  const dialog = useRef<HTMLDialogElement>(null);
  const asked = question.value;
  useEffect(() => {
    if (asked) dialog.current?.showModal();
  }, [asked]);
  if (!asked) return null;
  const answer = (sure: boolean) => {
    question.value = null;
    asked.answer(sure);
  };
  return (
    <dialog ref={dialog} aria-labelledby="asked" onClose={() => answer(false)}>
      <h2 id="asked">{asked.title}</h2>
      <p>{asked.text}</p>
      <div class="actions end">
        <button type="button" onClick={() => answer(false)}>
          Leave it
        </button>
        <button type="button" class="danger" onClick={() => answer(true)}>
          {asked.yes}
        </button>
      </div>
    </dialog>
  );
}
