// Dropping files, and those that are on their way.

import { signal } from '@preact/signals';
import { useEffect, useRef, useState } from 'preact/hooks';
import { get } from '../api/http';
import type { Page, PresetView } from '../api/types';
import { ProgressBar } from '../parts/basic';
import { say } from '../parts/toast';
import { bytes, duration, percent } from '../format';
import { url } from '../router';
import { isSending, send, sendings, type Sending } from '../state/upload';

const REMEMBERED = 'tvarr-preset';
export const presets = signal<PresetView[]>([]);

export function readPresets(): void {
  if (presets.value.length > 0) return;
  void get<Page<PresetView>>('/v1/presets')
    .then((page) => (presets.value = page.items))
    .catch(() => undefined);
}

export function Uploads() {
  const picker = useRef<HTMLInputElement>(null);
  const [over, setOver] = useState(false);
  const [preset, setPreset] = useState(localStorage.getItem(REMEMBERED) ?? 'h264');
  const choose = (name: string) => {
    setPreset(name);
    localStorage.setItem(REMEMBERED, name);
  };
  const take = (files: FileList | null | undefined) => {
    const alone = files?.length === 1 && !isSending();
    for (const file of files ?? []) {
      if (file.size === 0) say(`${file.name} is empty`, true);
      else void send(file, preset, alone);
    }
  };

  // Anywhere on the page: a file that misses a small box would be opened by the browser instead.
  useEffect(() => {
    const has = (event: DragEvent) => event.dataTransfer?.types.includes('Files');
    const enter = (event: DragEvent) => {
      if (!has(event)) return;
      event.preventDefault();
      setOver(true);
    };
    const leave = (event: DragEvent) => {
      if (!event.relatedTarget) setOver(false);
    };
    const drop = (event: DragEvent) => {
      if (!has(event)) return;
      event.preventDefault();
      setOver(false);
      take(event.dataTransfer?.files);
    };
    document.addEventListener('dragover', enter);
    document.addEventListener('dragleave', leave);
    document.addEventListener('drop', drop);
    return () => {
      document.removeEventListener('dragover', enter);
      document.removeEventListener('dragleave', leave);
      document.removeEventListener('drop', drop);
    };
  }, [preset]);

  useEffect(readPresets, []);
  const known = presets.value;
  const described = known.find((each) => each.name === preset)?.description;
  return (
    <section class={`drop ${over ? 'over' : ''}`} aria-label="New job">
      <div class="dropline">
        <span>
          <b>Drop a file anywhere</b> <span class="dim">or</span>
        </span>
        <button type="button" class="primary" onClick={() => picker.current?.click()}>
          Choose files
        </button>
        <input ref={picker} type="file" multiple hidden aria-label="Files" onChange={(event) => (take(event.currentTarget.files), (event.currentTarget.value = ''))} />
        <label>
          <span class="dim">as</span>
          <select aria-label="Preset" value={preset} onChange={(event) => choose(event.currentTarget.value)}>
            {!known.some((each) => each.name === preset) && <option>{preset}</option>}
            {known.map((each) => (
              <option key={each.name}>{each.name}</option>
            ))}
          </select>
        </label>
        <span class="dim about">{described}</span>
      </div>
      {sendings.value.map((each) => (
        <OnItsWay key={each.id} each={each} />
      ))}
    </section>
  );
}

function OnItsWay({ each }: { each: Sending }) {
  const part = each.size === 0 ? 1 : each.sent / each.size;
  const left = each.rate > 0 ? (each.size - each.sent) / each.rate : NaN;
  return (
    <div class="sending">
      <span class="what">
        {each.job ? <a href={url(`/jobs/${each.job}`)}>{each.name}</a> : each.name}
        <span class="dim"> {bytes(each.size)}</span>
      </span>
      <ProgressBar part={part} label={`Upload of ${each.name}`} />
      <span class="num">{percent(part)}</span>
      <span class={each.state === 'failed' ? 'bad' : 'dim'}>
        {each.state === 'sending' && (each.rate > 0 ? `${bytes(each.rate)}/s, ${duration(left)} left` : 'sending')}
        {each.state === 'paused' && 'paused'}
        {each.state === 'done' && 'uploaded'}
        {each.state === 'failed' && (each.problem ?? 'failed')}
      </span>
      <span>
        {each.state === 'sending' && (
          <button type="button" class="small quiet" onClick={each.pause}>
            Pause
          </button>
        )}
        {(each.state === 'paused' || each.state === 'failed') && (
          <button type="button" class="small quiet" onClick={each.resume}>
            {each.state === 'failed' ? 'Try again' : 'Go on'}
          </button>
        )}
        {(each.state === 'done' || each.state === 'failed') && (
          <button type="button" class="small quiet" onClick={each.remove} aria-label={`Take ${each.name} off the list`}>
            ✕
          </button>
        )}
      </span>
    </div>
  );
}
