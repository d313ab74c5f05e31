// The fleet: totals, one row for each worker, and everything about the one that is chosen.

import { useState } from 'preact/hooks';
import type { WorkerRow, WorkerState } from '../api/types';
import { Empty, Figure, Meter, ProgressBar, State, Trouble } from '../parts/basic';
import { Rows } from '../parts/rows';
import { between, brief, count, duration, inputName, percent, speed } from '../format';
import { gpusOf, memoryOf } from '../devices';
import { go, route, url } from '../router';
import { now } from '../state/clock';
import { fleetProblem, fleetRead, ordered, totals } from '../state/fleet';
import { running, runningOn } from '../state/jobs';
import { Connect } from './connect';
import { WorkerPanel } from './worker';

const STATES: WorkerState[] = ['online', 'draining', 'quarantined', 'lost'];

export function Transcoders() {
  const { path, query } = route.value;
  const chosen = path[0] === 'workers' ? path[1] : undefined;
  const connect = query.has('connect');
  const state = query.get('state') as WorkerState | null;
  const [text, setText] = useState('');
  const all = ordered.value;
  const shown = all.filter((row) => (!state || row.state === state) && matches(row, text));
  const close = () => go(url('/', { state: state ?? undefined }));

  return (
    <div class={`split ${chosen || connect ? 'open' : ''}`}>
      <section class="list" aria-label="Transcoders">
        <Totals />
        <div class="tools">
          <h1>Transcoders</h1>
          <div class="chips" role="group" aria-label="Show by state">
            <a class="chip" href={url('/')} aria-current={!state ? 'true' : undefined}>
              All <b>{count(all.length)}</b>
            </a>
            {STATES.filter((each) => totals.value.states[each] > 0 || each === state).map((each) => (
              <a key={each} class={`chip is-${each}`} href={url('/', { state: each })} aria-current={state === each ? 'true' : undefined}>
                <i aria-hidden="true" />
                {each} <b>{count(totals.value.states[each])}</b>
              </a>
            ))}
          </div>
          <input
            type="search"
            placeholder="Name, address, label"
            aria-label="Find workers"
            value={text}
            onInput={(event) => setText(event.currentTarget.value)}
          />
          <a class="button primary" href={url('/', { connect: '1' })}>
            Connect a worker
          </a>
        </div>
        {fleetProblem.value && <Trouble problem={fleetProblem.value} what="The workers cannot be read" />}
        {!fleetRead.value && !fleetProblem.value && <p class="dim">Reading the fleet …</p>}
        {fleetRead.value && all.length === 0 && (
          <Empty title="No worker is connected">
            <p>Work waits until one is. A worker is a machine with ffmpeg and ffmpegd that dials this coordinator.</p>
            <a class="button primary" href={url('/', { connect: '1' })}>
              Connect a worker
            </a>
          </Empty>
        )}
        {all.length > 0 && shown.length === 0 && (
          <Empty title="No worker is like that">
            <p>
              {count(all.length)} are connected; none {state ? `is ${state}` : ''} {text && `has “${text}” in its name, address or labels`}.
            </p>
            <button type="button" onClick={() => (setText(''), go(url('/')))}>
              Show all
            </button>
          </Empty>
        )}
        {shown.length > 0 && (
          <Rows
            label="Transcoders"
            class="workers"
            columns={9}
            items={shown}
            head={
              <>
                <th scope="col" class="c-state">State</th>
                <th scope="col" class="c-name">Worker</th>
                <th scope="col" class="c-jobs">Jobs</th>
                <th scope="col" class="c-meter">CPU</th>
                <th scope="col" class="c-meter c-memory">Memory</th>
                <th scope="col" class="c-gpu">GPU</th>
                <th scope="col" class="c-work">Running</th>
                <th scope="col" class="c-done num">Done / failed</th>
                <th scope="col" class="c-up num">Up</th>
              </>
            }
            row={(row) => <Row key={row.id} row={row} chosen={row.id === chosen} />}
          />
        )}
      </section>
      {connect && <Connect onClose={close} />}
      {!connect && chosen && <WorkerPanel key={chosen} id={chosen} onClose={close} />}
    </div>
  );
}

export function matches(row: WorkerRow, text: string): boolean {
  const wanted = text.trim().toLowerCase();
  if (!wanted) return true;
  const labels = Object.entries(row.labels).map(([name, value]) => `${name}=${value}`);
  return [row.name, row.address, row.version, ...labels].some((each) => each.toLowerCase().includes(wanted));
}

function Totals() {
  const { states, cpu, gpu, live } = totals.value;
  const jobs = [...running.value.values()];
  const rate = jobs.reduce((sum, job) => sum + (job.progress?.fps ?? 0), 0);
  // Nothing is not yet none.
  const known = (number: number) => (fleetRead.value ? count(number) : '–');
  const wrong = states.lost + states.quarantined;
  return (
    <dl class="figures" aria-label="Totals">
      <Figure
        name="Workers online"
        value={known(states.online)}
        of={known(states.online + states.draining + wrong)}
        note={wrong > 0 ? <em class="bad">{wrong} not well</em> : states.draining > 0 ? `${states.draining} draining` : undefined}
      />
      <Figure name="CPU slots used" value={known(cpu[0])} of={known(cpu[1])} />
      <Figure name="GPU slots used" value={gpu[1] === 0 ? '–' : known(gpu[0])} of={gpu[1] === 0 ? 'no GPU' : known(gpu[1])} />
      <Figure name="Batch running" value={count(jobs.length)} />
      <Figure name="Live running" value={known(live)} />
      <Figure name="Frames a second" value={count(rate)} />
    </dl>
  );
}

function Row({ row, chosen }: { row: WorkerRow; chosen: boolean }) {
  const memory = memoryOf(row);
  const gpus = gpusOf(row);
  const jobs = runningOn.value.get(row.id) ?? [];
  const gone = row.state === 'lost';
  return (
    <tr class={`${chosen ? 'chosen' : ''} ${gone ? 'gone' : ''}`}>
      <td class="c-state">
        <State of={row.state} title={row.reason} />
      </td>
      <td class="c-name">
        <a class="stretch" href={url(`/workers/${row.id}`)} aria-current={chosen ? 'true' : undefined}>
          {row.name}
        </a>
        <small>{row.reason ?? row.address}</small>
      </td>
      <td class="c-jobs">
        <span class="slots" title={`${row.cpu_jobs} of ${row.capacity.max_cpu_jobs} on the CPU, ${row.gpu_jobs} of ${row.capacity.max_gpu_jobs} on GPUs`}>
          <b>{row.jobs}</b> / {row.capacity.max_jobs}
        </span>
        {row.live_jobs > 0 && <small class="live">{row.live_jobs} live</small>}
      </td>
      <td class="c-meter c-cpu">{!gone && <Meter part={row.load.cpu} label="CPU" text={percent(row.load.cpu)} />}</td>
      <td class="c-meter c-memory">
        {!gone && memory > 0 && (
          <Meter
            part={row.load.memory_used_bytes / memory}
            label="Memory"
            scarce
            text={percent(row.load.memory_used_bytes / memory)}
          />
        )}
      </td>
      <td class="c-gpu">
        {gpus.length === 0 ? (
          <span class="dim">none</span>
        ) : (
          gpus.slice(0, 2).map((gpu) => (
            <Meter key={gpu.index} part={(gpu.encoder_utilisation ?? 0) / 100} label={`Encoder of GPU ${gpu.index}`} text={gpu.encoder_utilisation == null ? '–' : `${gpu.encoder_utilisation} %`} />
          ))
        )}
      </td>
      <td class="c-work">
        {jobs.slice(0, 1).map((job) => (
          <span key={job.id} class="work">
            <span class="what">
              {inputName(job.input)} <span class="dim">{job.preset}</span>
            </span>
            <span class="how">
              <ProgressBar part={job.progress?.percent == null ? null : job.progress.percent / 100} label={inputName(job.input)} />
              <span class="num">{job.progress ? speed(job.progress.speed) : ''}</span>
              {jobs.length > 1 && <span class="dim">+{jobs.length - 1}</span>}
            </span>
          </span>
        ))}
        {jobs.length === 0 && <span class="dim">{row.live_jobs > 0 ? 'live only' : gone ? '' : 'idle'}</span>}
      </td>
      <td class="c-done num">
        {count(row.completed)} / <span class={row.failed > 0 ? 'bad' : 'dim'}>{count(row.failed)}</span>
      </td>
      <td class="c-up num" title={duration(between(row.connected_at, now.value))}>
        {gone ? '–' : brief(between(row.connected_at, now.value))}
      </td>
    </tr>
  );
}
