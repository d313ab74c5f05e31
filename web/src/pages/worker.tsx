// Everything about one worker.

import { useEffect, useState } from 'preact/hooks';
import { follow } from '../api/events';
import { change, get } from '../api/http';
import type { GpuView, Problem, RunningLive, RunningTask, WorkerView } from '../api/types';
import { ask } from '../parts/ask';
import { Action, Command, Copy, Meter, ProgressBar, State, Trouble } from '../parts/basic';
import { History, note } from '../parts/history';
import { Panel } from '../parts/panel';
import { between, bytes, clock, count, duration, fps, inputName, percent, shell, short, speed } from '../format';
import { url } from '../router';
import { now } from '../state/clock';
import { dropWorker, workers } from '../state/fleet';

/** Celsius at which drivers begin to slow a GPU down. */
const HOT = 85;

export function WorkerPanel({ id, onClose }: { id: string; onClose: () => void }) {
  const [view, setView] = useState<WorkerView | null>(null);
  const [problem, setProblem] = useState<Problem | null>(null);
  const row = workers.value.get(id);

  const put = (worker: WorkerView) => {
    note(worker);
    setView(worker);
    setProblem(null);
  };
  useEffect(
    () =>
      follow({
        subject: 'detail',
        read: () => get<WorkerView>(`/v1/workers/${id}`),
        put,
        hear: (event) => {
          if (event.event === 'detail' && event.worker.id === id) put(event.worker);
        },
        fail: setProblem,
      }),
    [id],
  );

  // The list hears of a state sooner.
  const worker = view && row ? { ...view, state: row.state } : view;
  return (
    <Panel title={worker?.name ?? row?.name ?? 'Worker'} mark={worker && <State of={worker.state} />} onClose={onClose}>
      {problem && <Trouble problem={problem} what="This worker cannot be read" />}
      {worker && <Body worker={worker} put={put} onClose={onClose} />}
    </Panel>
  );
}

interface Shown {
  worker: WorkerView;
  put: (worker: WorkerView) => void;
  onClose: () => void;
}

function Body({ worker, put, onClose }: Shown) {
  const { capabilities, capacity, load } = worker;
  const { machine } = capabilities;
  const busy = worker.jobs > 0;
  return (
    <>
      {worker.reason && <p class={`reason is-${worker.state}`}>{worker.reason}</p>}
      <Actions worker={worker} put={put} onClose={onClose} />
      <dl class="facts">
        <Fact name="Address">{worker.address}</Fact>
        <Fact name="Version">{worker.version}</Fact>
        <Fact name={worker.state === 'lost' ? 'Was connected' : 'Connected'}>
          {clock(worker.connected_at, now.value)}
          <span class="dim"> · {duration(between(worker.connected_at, now.value))}</span>
        </Fact>
        <Fact name="Machine">
          {machine.cpu || machine.arch}, {machine.cores} cores
          <span class="dim"> · {machine.os}</span>
        </Fact>
        <Fact name="ffmpeg">{capabilities.ffmpeg_version || <em class="bad">does not run</em>}</Fact>
        <Fact name="Labels">
          {Object.entries(worker.labels).map(([name, value]) => (
            <span key={name} class="tag">
              {name}={value}
            </span>
          ))}
          {Object.keys(worker.labels).length === 0 && <span class="dim">none</span>}
        </Fact>
        <Fact name="Completed">
          {count(worker.completed)} <span class={worker.failed > 0 ? 'bad' : 'dim'}>· {count(worker.failed)} failed</span>
        </Fact>
      </dl>
      <div class="gauges">
        <Gauge name="Jobs" part={worker.jobs / Math.max(1, capacity.max_jobs)} text={`${worker.jobs} of ${capacity.max_jobs}`} />
        <Gauge name="on the CPU" part={worker.cpu_jobs / Math.max(1, capacity.max_cpu_jobs)} text={`${worker.cpu_jobs} of ${capacity.max_cpu_jobs}`} />
        {capacity.max_gpu_jobs > 0 && (
          <Gauge name="on GPUs" part={worker.gpu_jobs / capacity.max_gpu_jobs} text={`${worker.gpu_jobs} of ${capacity.max_gpu_jobs}`} />
        )}
        <Gauge name="CPU" part={load.cpu} text={percent(load.cpu)} />
        <Gauge
          name="Memory"
          scarce
          part={load.memory_used_bytes / machine.memory_total_bytes}
          text={`${bytes(load.memory_used_bytes)} of ${bytes(machine.memory_total_bytes)}`}
        />
        <Scratch free={load.scratch_available_bytes ?? load.scratch_free_bytes} total={machine.scratch_total_bytes ?? 0} />
      </div>
      {worker.quarantines.map(({ gpu, reason }) => (
        <p key={gpu ?? 'cpu'} class="reason is-quarantined">
          {gpu == null ? 'The CPU' : `GPU ${gpu}`} gets no work: {reason}
        </p>
      ))}
      {worker.gpus.map((gpu) => (
        <Device key={gpu.index} gpu={gpu} driver={capabilities.gpus.find((each) => each.index === gpu.index)?.driver} />
      ))}
      <h3>
        Running <b>{worker.running.length + worker.live.length}</b>
      </h3>
      {!busy && <p class="dim">Nothing at the moment.</p>}
      {worker.running.map((task) => (
        <Task key={`${task.task}/${task.epoch}`} task={task} />
      ))}
      {worker.live.map((live) => (
        <Live key={`${live.task}/${live.epoch}`} live={live} />
      ))}
      <h3>The last hour</h3>
      <History worker={worker} />
      <Encoders worker={worker} />
    </>
  );
}

function Fact({ name, children }: { name: string; children: preact.ComponentChildren }) {
  return (
    <div>
      <dt>{name}</dt>
      <dd>{children}</dd>
    </div>
  );
}

function Gauge({ name, part, text, scarce }: { name: string; part: number; text: string; scarce?: boolean }) {
  return (
    <div class="gauge">
      <span>{name}</span>
      <Meter part={part} label={name} text={text} scarce={scarce} />
    </div>
  );
}

function Scratch({ free, total }: { free: number; total: number }) {
  const text = `${bytes(free)} free`;
  if (total > 0) return <Gauge name="Scratch" scarce part={1 - free / total} text={text} />;
  return (
    <div class="gauge">
      <span>Scratch</span>
      <span class="num">{text}</span>
    </div>
  );
}

function Actions({ worker, put, onClose }: Shown) {
  const path = `/v1/workers/${worker.id}`;
  const act = async (what: string, body?: unknown) => put(await change<WorkerView>('POST', `${path}/${what}`, body));
  const drainNow = async () => {
    const jobs = worker.jobs === 1 ? 'The job that runs there goes' : `The ${worker.jobs} jobs that run there go`;
    if (!(await ask(`Drain ${worker.name} at once?`, `${jobs} to other workers and begin there anew.`, 'Drain at once'))) return false;
    return act('drain', { now: true });
  };
  const forget = async () => {
    const text = 'It leaves the list with its counts. If it comes back, it is there again.';
    if (!(await ask(`Forget ${worker.name}?`, text, 'Forget it'))) return false;
    await change('DELETE', path);
    dropWorker(worker.id);
    return onClose();
  };
  return (
    <div class="actions">
      {worker.state === 'lost' ? (
        <Action label="Forget" kind="danger" title="Takes it off the list" done={`${worker.name} is forgotten`} run={forget} />
      ) : (
        <>
          {worker.state === 'draining' ? (
            <Action label="Resume" kind="primary" title="Give it work again" done={`${worker.name} takes work again`} run={() => act('resume')} />
          ) : (
            <Action label="Drain" title="It finishes what it runs and gets nothing more" done={`${worker.name} drains`} run={() => act('drain')} />
          )}
          {worker.jobs > 0 && <Action label="Drain at once" kind="danger" title="What it runs goes to others" run={drainNow} />}
          <Action
            label="Probe again"
            title="Try every encoder of the machine again"
            done={`${worker.name} looks at its machine again`}
            run={() => change('POST', `${path}/probe`)}
          />
        </>
      )}
    </div>
  );
}

function Device({ gpu, driver }: { gpu: GpuView; driver: string | undefined }) {
  const share = (name: string, value: number | null | undefined) =>
    value != null && <Gauge name={name} part={value / 100} text={`${value} %`} />;
  const limit = gpu.sessions_possible;
  return (
    <section class="device" aria-label={`GPU ${gpu.index}`}>
      <h3>
        GPU {gpu.index}{' '}
        <span class="dim">
          {gpu.name} {driver && `· driver ${driver}`}
        </span>
      </h3>
      {gpu.utilisation == null && <p class="dim">It has told no load.</p>}
      <div class="gauges">
        {share('Utilisation', gpu.utilisation)}
        {share('Encoder', gpu.encoder_utilisation)}
        {share('Decoder', gpu.decoder_utilisation)}
        {gpu.memory_used_bytes != null && (
          <Gauge
            name="Memory"
            scarce
            part={gpu.memory_used_bytes / Math.max(1, gpu.memory_total_bytes)}
            text={`${bytes(gpu.memory_used_bytes)} of ${bytes(gpu.memory_total_bytes)}`}
          />
        )}
        {gpu.sessions != null && limit != null && (
          <Gauge name="Sessions" part={gpu.sessions / Math.max(1, limit)} text={`${gpu.sessions} of ${limit}`} />
        )}
        {gpu.sessions != null && limit == null && (
          <div class="gauge">
            <span>Sessions</span>
            <span class="num">{gpu.sessions}, no limit known</span>
          </div>
        )}
        {gpu.temperature_celsius != null && (
          <div class="gauge">
            <span>Temperature</span>
            <span class={`num ${gpu.temperature_celsius >= HOT ? 'bad' : ''}`}>{gpu.temperature_celsius} °C</span>
          </div>
        )}
      </div>
    </section>
  );
}

function Task({ task }: { task: RunningTask }) {
  const { progress } = task;
  const [open, setOpen] = useState(false);
  return (
    <article class="attempt">
      <div class="title">
        <a href={url(`/jobs/${task.job}`)}>{task.input ? inputName(task.input) : `job ${short(task.job)}`}</a>
        <span class="dim">
          {task.preset} {task.encoder && `· ${task.encoder}`}
        </span>
      </div>
      <ProgressBar part={progress?.percent == null ? null : progress.percent / 100} label="Progress" />
      <div class="numbers">
        {progress ? (
          <>
            <span>{progress.percent == null ? progress.phase : `${progress.percent.toFixed(1)} %`}</span>
            <span>{fps(progress.fps)} fps</span>
            <span>{speed(progress.speed)}</span>
            <span>{progress.eta_seconds == null ? progress.phase : `${duration(progress.eta_seconds)} left`}</span>
          </>
        ) : (
          <span class="dim">starting</span>
        )}
        <button type="button" class="small quiet" aria-expanded={open} onClick={() => setOpen(!open)}>
          ffmpeg command
        </button>
      </div>
      {open && <Command text={task.command.length > 0 ? shell(task.command) : 'ffmpeg has not begun yet'} label="The ffmpeg command" />}
    </article>
  );
}

function Live({ live }: { live: RunningLive }) {
  const [open, setOpen] = useState(false);
  return (
    <article class="attempt">
      <div class="title">
        <a href={url('/streams')}>
          <span class="live">live</span> {live.name}
        </a>
        <span class="dim">{[live.profile, live.encoder ?? (live.profile === 'ingest' && 'copies its source')].filter(Boolean).join(' · ')}</span>
      </div>
      <div class="numbers">
        {live.progress && (
          <>
            <span>{fps(live.progress.fps)} fps</span>
            <span>{speed(live.progress.speed)}</span>
          </>
        )}
        <span>for {duration(between(live.placed_at, now.value))}</span>
        {live.command.length > 0 && (
          <button type="button" class="small quiet" aria-expanded={open} onClick={() => setOpen(!open)}>
            ffmpeg command
          </button>
        )}
      </div>
      {open && <Command text={shell(live.command)} label="The ffmpeg command" />}
    </article>
  );
}

function Encoders({ worker }: { worker: WorkerView }) {
  const { encoders, rejected, problems = [] } = worker.capabilities;
  const video = encoders.filter((encoder) => encoder.devices.length > 0);
  const software = encoders.filter((encoder) => encoder.devices.length === 0);
  return (
    <>
      <h3>Encoders</h3>
      {problems.map((text) => (
        <p key={text} class="bad">
          {text}
        </p>
      ))}
      {video.length > 0 && (
        <ul class="tags">
          {video.map((encoder) => (
            <li key={encoder.name} class="tag good" title={encoder.devices.map((device) => `${device.path}: ${device.bit_depths.join(' and ')} bit`).join('\n')}>
              {encoder.name}
            </li>
          ))}
        </ul>
      )}
      {rejected.length > 0 && (
        <table class="plain">
          <caption>Turned down: ffmpeg lists them, and their trial failed here</caption>
          <tbody>
            {rejected.map((each) => (
              <tr key={`${each.name} ${each.device} ${each.bit_depth}`}>
                <th scope="row" class="bad">
                  {each.name}
                  <small>
                    {each.bit_depth} bit {each.device && `· ${each.device}`}
                  </small>
                </th>
                <td>{each.reason}</td>
              </tr>
            ))}
          </tbody>
        </table>
      )}
      <details>
        <summary>
          {software.length} in software{video.length === 0 && rejected.length === 0 ? ', no hardware encoder' : ''}
        </summary>
        <ul class="tags">
          {software.map((encoder) => (
            <li key={encoder.name} class="tag">
              {encoder.name}
            </li>
          ))}
        </ul>
      </details>
      <p class="dim">
        Id <code>{worker.id}</code> <Copy text={worker.id} />
      </p>
    </>
  );
}
