// The fleet: totals, one row for each worker, and everything about the one that is chosen.

import { useState } from 'preact/hooks';
import type { WorkerRow, WorkerState } from '../api/types';
import { Empty, Figure, Meter, ProgressBar, State, Trouble } from '../parts/basic';
import { Rows } from '../parts/rows';
import { between, brief, count, duration, inputName, percent, speed } from '../format';
import { go, route, url } from '../router';
import { now } from '../state/clock';
import { fleetProblem, fleetRead, ordered, states, totals } from '../state/fleet';
import { Connect } from './connect';
import { WorkerPanel } from './worker';

const NAMES = ['Workers online', 'CPU slots used', 'GPU slots used', 'Batch running', 'Live running', 'Frames a second'];
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
            {STATES.filter((each) => states.value[each] > 0 || each === state).map((each) => (
              <a key={each} class={`chip is-${each}`} href={url('/', { state: each })} aria-current={state === each ? 'true' : undefined}>
                <i aria-hidden="true" />
                {each} <b>{count(states.value[each])}</b>
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
            row={(row) => <Row key={row.id} row={row} href={url(`/workers/${row.id}`, { state: state ?? undefined })} chosen={row.id === chosen} />}
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
  const fleet = totals.value;
  // Nothing is not yet none.
  if (!fleet) return <dl class="figures" aria-label="Totals" aria-busy="true">{NAMES.map((name) => <Figure key={name} name={name} value="–" />)}</dl>;
  const { workers, cpu_jobs: cpu, gpu_jobs: gpu } = fleet;
  const wrong = workers.lost + workers.quarantined;
  return (
    <dl class="figures" aria-label="Totals">
      <Figure
        name="Workers online"
        value={count(workers.online)}
        of={count(workers.online + workers.draining + wrong)}
        note={wrong > 0 ? <em class="bad">{count(wrong)} not well</em> : workers.draining > 0 ? `${count(workers.draining)} draining` : undefined}
      />
      <Figure name="CPU slots used" value={count(cpu.used)} of={count(cpu.total)} />
      <Figure name="GPU slots used" value={gpu.total === 0 ? '–' : count(gpu.used)} of={gpu.total === 0 ? 'no GPU' : count(gpu.total)} />
      <Figure name="Batch running" value={count(fleet.batch)} note={fleet.waiting > 0 ? `${count(fleet.waiting)} waiting` : undefined} />
      <Figure name="Live running" value={count(fleet.live)} />
      <Figure name="Frames a second" value={count(fleet.fps)} />
    </dl>
  );
}

function Row({ row, href, chosen }: { row: WorkerRow; href: string; chosen: boolean }) {
  const { work, gpus, memory_total_bytes: memory } = row;
  const batch = row.jobs - row.live_jobs;
  const gone = row.state === 'lost';
  return (
    <tr class={`${chosen ? 'chosen' : ''} ${gone ? 'gone' : ''}`}>
      <td class="c-state">
        <State of={row.state} title={row.reason} />
      </td>
      <td class="c-name">
        <a class="stretch" href={href} aria-current={chosen ? 'true' : undefined}>
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
        {work && (
          <span class="work">
            <span class="what">
              {inputName(work.input)} <span class="dim">{work.preset}</span>
            </span>
            <span class="how">
              <ProgressBar part={work.percent == null ? null : work.percent / 100} label={inputName(work.input)} />
              <span class="num">{work.speed == null ? '' : speed(work.speed)}</span>
              {batch > 1 && <span class="dim">+{batch - 1}</span>}
            </span>
          </span>
        )}
        {!work && <span class="dim">{row.live_jobs > 0 ? 'live only' : gone ? '' : 'idle'}</span>}
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
