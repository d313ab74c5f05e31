// The small parts that every page is made of.

import type { ComponentChildren } from 'preact';
import { useState } from 'preact/hooks';
import { asProblem } from '../api/http';
import type { Problem } from '../api/types';
import { say } from './toast';

const WORDS: Record<string, string> = { dead: 'dead letter', held: 'held', superseded: 'replaced' };

/** A state by colour and word. */
export function State({ of, title }: { of: string; title?: string | null | undefined }) {
  return (
    <span class={`state is-${of}`} title={title ?? undefined}>
      <i aria-hidden="true" />
      {WORDS[of] ?? of}
    </span>
  );
}

interface MeterProps {
  /** 0 to 1. */
  part: number;
  label: string;
  text: string;
  /** It ends badly when it is full. Busy processors and slots are what a farm is for. */
  scarce?: boolean | undefined;
}

/** How much of something is used. */
export function Meter({ part, label, text, scarce }: MeterProps) {
  const clamped = Math.min(1, Math.max(0, Number.isFinite(part) ? part : 0));
  const level = !scarce ? '' : clamped >= 0.95 ? 'full' : clamped >= 0.8 ? 'high' : '';
  return (
    <span class="meter" role="meter" aria-label={label} aria-valuenow={Math.round(clamped * 100)} aria-valuetext={text}>
      <span class="bar" aria-hidden="true">
        <i class={level} style={{ width: `${clamped * 100}%` }} />
      </span>
      <span class="text">{text}</span>
    </span>
  );
}

/** `part` 0 to 1; `null` while nobody knows. */
export function ProgressBar({ part, label }: { part: number | null; label: string }) {
  const value = part === null ? {} : { 'aria-valuenow': Math.round(part * 100) };
  return (
    <span class={`bar progress ${part === null ? 'unknown' : ''}`} role="progressbar" aria-label={label} {...value}>
      <i style={{ width: part === null ? '100%' : `${Math.min(1, part) * 100}%` }} />
    </span>
  );
}

export function Copy({ text, label = 'Copy' }: { text: string; label?: string }) {
  const [done, setDone] = useState(false);
  const copy = async () => {
    await copyText(text);
    setDone(true);
    window.setTimeout(() => setDone(false), 1500);
  };
  return (
    <button type="button" class="small quiet" onClick={() => void copy()} aria-live="polite">
      {done ? 'Copied' : label}
    </button>
  );
}

async function copyText(text: string): Promise<void> {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    // Browsers give the clipboard to https and this machine alone.
    const field = document.createElement('textarea');
    field.value = text;
    document.body.append(field);
    field.select();
    document.execCommand('copy');
    field.remove();
  }
}

/** Text to copy, as it would be typed. */
export function Command({ text, label }: { text: string; label?: string }) {
  return (
    <div class="command">
      <pre tabIndex={0} aria-label={label}>
        {text}
      </pre>
      <Copy text={text} />
    </div>
  );
}

interface ActionProps {
  label: string;
  kind?: 'danger' | 'primary' | 'quiet';
  title?: string;
  /** Said when it is done. */
  done?: string;
  run: () => Promise<unknown>;
}

/** A button that asks the coordinator for something, and says what it answers. */
export function Action({ label, kind, title, done, run }: ActionProps) {
  const [busy, setBusy] = useState(false);
  const act = async () => {
    setBusy(true);
    try {
      if ((await run()) !== false && done) say(done);
    } catch (error) {
      const { detail, remedy } = asProblem(error);
      say(remedy ? `${detail} – ${remedy}` : detail, true);
    } finally {
      setBusy(false);
    }
  };
  return (
    <button type="button" class={kind} title={title} disabled={busy} aria-busy={busy} onClick={() => void act()}>
      {label}
    </button>
  );
}

/** What is wrong, where, and what to do. */
export function Trouble({ problem, what }: { problem: Problem; what: string }) {
  return (
    <div class="trouble" role="alert">
      <strong>{what}</strong>
      <p>{problem.detail}</p>
      {problem.remedy && <p class="dim">{problem.remedy}</p>}
    </div>
  );
}

export function Empty({ title, children }: { title: string; children?: ComponentChildren }) {
  return (
    <div class="empty">
      <h2>{title}</h2>
      {children}
    </div>
  );
}

export function Figure({ name, value, of, note }: { name: string; value: ComponentChildren; of?: string | undefined; note?: ComponentChildren }) {
  return (
    <div class="figure">
      <dt>{name}</dt>
      <dd>
        <b>{value}</b>
        {of !== undefined && <span class="of">/ {of}</span>}
        {note && <span class="note">{note}</span>}
      </dd>
    </div>
  );
}
