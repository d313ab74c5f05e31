// All jobs, newest first, by filter.

import { useCallback, useEffect, useMemo, useState } from 'preact/hooks';
import { may } from '../api/session';
import type { JobState, JobSummary } from '../api/types';
import { ask } from '../parts/ask';
import { Action, Empty, ProgressBar, State, Trouble } from '../parts/basic';
import { Rows } from '../parts/rows';
import { say } from '../parts/toast';
import { between, brief, clock, counted, duration, inputName, speed } from '../format';
import { go, route, url } from '../router';
import { now } from '../state/clock';
import { FINAL, JobList, redrive, type JobFilter } from '../state/jobs';
import { presets, readPresets, Uploads } from './upload';

const STATES: [string, string][] = [
  ['', 'All'],
  ['queued', 'Queued'],
  ['running', 'Running'],
  ['succeeded', 'Succeeded'],
  ['failed', 'Failed'],
  ['dead', 'Dead letters'],
  ['cancelled', 'Cancelled'],
];
const TYPED_MS = 250;

function filterOf(query: URLSearchParams): JobFilter {
  const named = (name: string) => query.get(name) ?? undefined;
  return { state: named('state'), owner: named('owner'), preset: named('preset'), worker: named('worker'), text: named('text') };
}

export function Jobs() {
  const { query } = route.value;
  const asked = query.toString();
  const filter = useMemo(() => filterOf(query), [asked]);
  const list = useMemo(() => new JobList(filter), [filter]);
  useEffect(() => () => list.end(), [list]);
  useEffect(readPresets, []);
  const onEnd = useCallback(() => void list.next(), [list]);
  const set = (changed: JobFilter, replace = true) => go(url('/jobs', { ...filter, ...changed } as Record<string, string | undefined>), replace);
  const filtered = Object.values(filter).some(Boolean);
  const jobs = list.jobs.value;
  return (
    <>
      {may('submit') && <Uploads />}
      <div class="tools">
        <h1>Jobs</h1>
        <div class="chips" role="group" aria-label="Show by state">
          {STATES.map(([state, name]) => (
            <a
              key={state}
              class={`chip is-${state}`}
              href={url('/jobs', { ...filter, state } as Record<string, string | undefined>)}
              aria-current={(filter.state ?? '') === state ? 'true' : undefined}
            >
              {state && <i aria-hidden="true" />}
              {name}
            </a>
          ))}
        </div>
        <div class="filters">
          <Typed label="Find by name of the input or id" placeholder="Input or id" value={filter.text} set={(text) => set({ text })} />
          <select aria-label="Preset" value={filter.preset ?? ''} onChange={(event) => set({ preset: event.currentTarget.value })}>
            <option value="">Any preset</option>
            {presets.value.map((each) => (
              <option key={each.name}>{each.name}</option>
            ))}
          </select>
          {may('admin') && (
            <>
              <Typed label="Name of the worker" placeholder="Worker" value={filter.worker} set={(worker) => set({ worker })} />
              <Typed label="Owner" placeholder="Owner" value={filter.owner} set={(owner) => set({ owner })} />
            </>
          )}
          {filter.state === 'dead' && jobs.length > 0 && may('submit') && <Redrive filter={filter} />}
        </div>
      </div>
      {list.problem.value && <Trouble problem={list.problem.value} what="The jobs cannot be read" />}
      {!list.read.value && !list.problem.value && <p class="dim">Reading the jobs …</p>}
      {list.read.value && jobs.length === 0 && (
        <Empty title={filtered ? 'No job is like that' : 'No job yet'}>
          {filtered ? (
            <a class="button" href={url('/jobs')}>
              Show all
            </a>
          ) : (
            <p>
              Drop a file on this page, or: <code>ffmpegctl transcode holiday.mov -o holiday.mp4 --preset h264</code>
            </p>
          )}
        </Empty>
      )}
      {jobs.length > 0 && (
        <Rows
          label="Jobs"
          class="jobs"
          items={jobs}
          onEnd={onEnd}
          head={
            <>
              <th scope="col" class="c-state">State</th>
              <th scope="col" class="c-name">Input</th>
              <th scope="col" class="c-preset">Preset</th>
              <th scope="col" class="c-progress">Progress</th>
              <th scope="col" class="c-worker">Worker</th>
              <th scope="col" class="c-owner">Owner</th>
              <th scope="col" class="c-when num">Submitted</th>
            </>
          }
          row={(job) => <Row key={job.id} job={job} />}
        />
      )}
      {list.more.value && <p class="dim more">There are more; scroll on.</p>}
    </>
  );
}

function Redrive({ filter }: { filter: JobFilter }) {
  const run = async () => {
    if (!(await ask('Queue these dead letters again?', 'Each gets a fresh budget of attempts.', 'Redrive'))) return;
    const { jobs, refused } = await redrive(filter);
    if (jobs.length > 0 || refused.length === 0) say(`${counted(jobs.length, 'dead letter')} queued again`);
    if (refused[0]) say(`${counted(refused.length, 'dead letter')} not queued again: ${refused[0].reason}`, true);
  };
  return <Action label="Redrive all" kind="primary" run={run} />;
}

interface TypedProps {
  label: string;
  placeholder: string;
  value: string | undefined;
  set: (value: string) => void;
}

/** A field that is taken when the typing stops. */
function Typed({ label, placeholder, value, set }: TypedProps) {
  const [text, setText] = useState(value ?? '');
  useEffect(() => setText(value ?? ''), [value]);
  useEffect(() => {
    if (text === (value ?? '')) return;
    const timer = window.setTimeout(() => set(text.trim()), TYPED_MS);
    return () => window.clearTimeout(timer);
  }, [text]);
  return <input type="search" aria-label={label} placeholder={placeholder} value={text} onInput={(event) => setText(event.currentTarget.value)} />;
}

/** How far it is, or what became of it, in few words. */
export function told(job: JobSummary, at: number): string {
  const words: Partial<Record<JobState, () => string>> = {
    queued: () => job.waiting_for ?? `waits for ${duration(between(job.submitted_at, at))}`,
    failed: () => job.failure?.message ?? '',
    dead: () => job.failure?.message ?? '',
    cancelled: () => job.failure?.message ?? '',
  };
  return words[job.state]?.() ?? '';
}

function Row({ job }: { job: JobSummary }) {
  const { progress } = job;
  return (
    <tr>
      <td class="c-state">
        <State of={job.state} />
      </td>
      <td class="c-name">
        <a class="stretch" href={url(`/jobs/${job.id}`)} title={job.input}>
          {inputName(job.input)}
        </a>
        {job.priority !== 0 && !FINAL.has(job.state) && <small class="dim">priority {job.priority > 0 ? `+${job.priority}` : job.priority}</small>}
      </td>
      <td class="c-preset">{job.preset}</td>
      <td class="c-progress">
        {job.state === 'running' ? (
          <span class="how">
            <ProgressBar part={progress?.percent == null ? null : progress.percent / 100} label={`Progress of ${job.input}`} />
            <span class="num">{progress?.percent == null ? (progress?.phase ?? '') : `${progress.percent.toFixed(0)} %`}</span>
            <span class="num dim">{progress ? speed(progress.speed) : ''}</span>
            <span class="num dim">{progress?.eta_seconds == null ? '' : duration(progress.eta_seconds)}</span>
          </span>
        ) : job.state === 'succeeded' && job.started_at && job.finished_at ? (
          <span class="dim">took {duration(between(job.started_at, job.finished_at))}</span>
        ) : (
          <span class={`why ${job.state === 'queued' ? 'dim' : ''}`} title={told(job, now.value)}>
            {told(job, now.value)}
          </span>
        )}
      </td>
      <td class="c-worker">{job.worker?.name ?? <span class="dim">–</span>}</td>
      <td class="c-owner">{job.owner ?? <span class="dim">–</span>}</td>
      <td class="c-when num" title={clock(job.submitted_at, now.value)}>
        {brief(between(job.submitted_at, now.value))} ago
      </td>
    </tr>
  );
}
