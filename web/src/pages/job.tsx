// Everything about one job.

import { useEffect, useMemo, useState } from 'preact/hooks';
import { follow } from '../api/events';
import { asProblem, change, get } from '../api/http';
import { may } from '../api/session';
import type { AttemptLog, JobView, Problem } from '../api/types';
import { ask } from '../parts/ask';
import { Action, Command, ProgressBar, State, Trouble } from '../parts/basic';
import { Player } from '../parts/player';
import { between, bitrate, bytes, clock, count, duration, fps, inputName, shell, speed } from '../format';
import { isPlaylist, outputUrl, sort } from '../outputs';
import { go, url } from '../router';
import { now } from '../state/clock';
import { FINAL } from '../state/jobs';
import { timeline } from '../timeline';

/** Events of one moment lead to one reading. */
const SETTLE_MS = 150;

function useJob(id: string): { job: JobView | null; problem: Problem | null; put: (job: JobView) => void } {
  const [job, setJob] = useState<JobView | null>(null);
  const [problem, setProblem] = useState<Problem | null>(null);
  useEffect(() => {
    let timer = 0;
    const read = () => get<JobView>(`/v1/jobs/${id}`);
    const put = (view: JobView) => (setJob(view), setProblem(null));
    const end = follow({
      subject: 'jobs',
      read,
      put,
      hear: (event) => {
        if (event.event === 'progress' && event.job === id) setJob((job) => job && { ...job, progress: event.progress });
        if (event.event !== 'job' || event.job.id !== id) return;
        setJob((job) => job && { ...job, ...event.job });
        // Its attempts and outputs are not in it.
        window.clearTimeout(timer);
        timer = window.setTimeout(() => void read().then(put, (error: unknown) => setProblem(asProblem(error))), SETTLE_MS);
      },
      fail: setProblem,
    });
    return () => {
      window.clearTimeout(timer);
      end();
    };
  }, [id]);
  return { job, problem, put: setJob };
}

export function JobPage({ id }: { id: string }) {
  const { job, problem, put } = useJob(id);
  return (
    <article class="job">
      <p class="crumb">
        <a href={url('/jobs')}>Jobs</a>
      </p>
      {problem && <Trouble problem={problem} what="This job cannot be read" />}
      {job && (
        <>
          <header class="head">
            <h1 title={job.input}>{inputName(job.input)}</h1>
            <State of={job.state} />
            {may('submit') && <Actions job={job} put={put} />}
          </header>
          <Now job={job} />
          <Facts job={job} />
          <Warnings job={job} />
          {job.state === 'succeeded' && <Results job={job} />}
          <div class="columns">
            <Timeline job={job} />
            <Logs id={id} state={job.state} ended={ended(job)} />
          </div>
        </>
      )}
    </article>
  );
}

function Actions({ job, put }: { job: JobView; put: (job: JobView) => void }) {
  const path = `/v1/jobs/${job.id}`;
  const post = async (what: string) => put(await change<JobView>('POST', `${path}/${what}`));
  const prefer = async (priority: number) => put(await change<JobView>('PATCH', path, { priority }));
  const cancel = async () =>
    (await ask('Cancel this job?', 'What was encoded of it is thrown away.', 'Cancel the job')) ? post('cancel') : false;
  const remove = async () => {
    if (!(await ask('Remove this job?', 'Its outputs in the farm’s storage go with it.', 'Remove it'))) return false;
    await change('DELETE', path);
    return go(url('/jobs'));
  };
  const over = FINAL.has(job.state);
  return (
    <div class="actions">
      {job.state === 'queued' && job.priority < 100 && (
        <Action label="Raise priority" title={`It is ${job.priority} of -100 to 100`} done="It goes before what has a lower priority" run={() => prefer(Math.min(100, job.priority + 10))} />
      )}
      {!over && <Action label="Cancel" kind="danger" run={cancel} />}
      {(job.state === 'failed' || job.state === 'cancelled') && <Action label="Retry" kind="primary" done="It is queued again" run={() => post('retry')} />}
      {job.state === 'dead' && <Action label="Redrive" kind="primary" done="It is queued again" run={() => post('retry')} />}
      {over && <Action label="Remove" kind="danger" run={remove} />}
    </div>
  );
}

function Now({ job }: { job: JobView }) {
  const { progress } = job;
  if (job.state === 'queued') {
    return (
      <p class="reason">
        Waits for {duration(between(job.submitted_at, now.value))}
        {job.waiting_for && <>: {job.waiting_for}</>}
      </p>
    );
  }
  if (job.failure && job.state !== 'succeeded' && job.state !== 'running') return <p class={`reason is-${job.state}`}>{job.failure.message}</p>;
  if (job.state !== 'running') return null;
  return (
    <div class="now">
      <ProgressBar part={progress?.percent == null ? null : progress.percent / 100} label="Progress" />
      <dl class="figures">
        <Cell name="Done" value={progress?.percent == null ? (progress?.phase ?? 'starting') : `${progress.percent.toFixed(1)} %`} />
        <Cell name="Left" value={progress?.eta_seconds == null ? '–' : duration(progress.eta_seconds)} />
        <Cell name="Speed" value={progress ? speed(progress.speed) : '–'} />
        <Cell name="Frames a second" value={progress ? fps(progress.fps) : '–'} />
        <Cell name="Frames" value={progress ? count(progress.frames) : '–'} />
        <Cell name="Phase" value={progress?.phase || '–'} />
      </dl>
    </div>
  );
}

function Cell({ name, value }: { name: string; value: string }) {
  return (
    <div class="figure">
      <dt>{name}</dt>
      <dd>
        <b>{value}</b>
      </dd>
    </div>
  );
}

function Facts({ job }: { job: JobView }) {
  const info = job.input_info;
  const facts: [string, preact.ComponentChildren][] = [
    ['Preset', job.preset],
    [
      'Worker',
      job.worker ? may('admin') ? <a href={url(`/workers/${job.worker.id}`)}>{job.worker.name}</a> : job.worker.name : <span class="dim">none yet</span>,
    ],
    ['Submitted', clock(job.submitted_at, now.value)],
    ['Took', job.started_at && job.finished_at ? duration(between(job.started_at, job.finished_at)) : <span class="dim">–</span>],
    ['Owner', job.owner ?? <span class="dim">nobody</span>],
    ['Priority', String(job.priority)],
    ['Hardware', job.hardware.replaceAll('_', ' ')],
    ...(inputName(job.input) === job.input ? [] : [['From', job.input] as [string, preact.ComponentChildren]]),
    [
      'Input',
      info ? (
        <>
          {info.streams.map((stream) => stream.codec).join(', ')}
          {info.duration != null && <> · {duration(info.duration)}</>}
          {info.size != null && <> · {bytes(info.size)}</>}
          {info.bit_rate != null && <> · {bitrate(info.bit_rate)}</>}
        </>
      ) : (
        <span class="dim">not looked at yet</span>
      ),
    ],
    ['Id', <code>{job.id}</code>],
  ];
  if (job.output) facts.push(['Delivered to', job.output]);
  return (
    <dl class="facts wide">
      {facts.map(([name, value]) => (
        <div key={name}>
          <dt>{name}</dt>
          <dd>{value}</dd>
        </div>
      ))}
    </dl>
  );
}

function Warnings({ job }: { job: JobView }) {
  if (job.warnings.length === 0) return null;
  return (
    <ul class="warnings" aria-label="Warnings">
      {job.warnings.map((text) => (
        <li key={text}>{text}</li>
      ))}
    </ul>
  );
}

function Results({ job }: { job: JobView }) {
  const sorted = useMemo(() => sort(job.outputs), [job.outputs]);
  const [chosen, setChosen] = useState<string | null>(null);
  const playing = sorted.playable.find((file) => file.path === chosen) ?? sorted.playable[0];
  const total = job.outputs.reduce((sum, file) => sum + file.size, 0);
  return (
    <section aria-label="Outputs">
      <h2>
        Outputs <span class="dim">{bytes(total)}</span>
      </h2>
      <div class="results">
        {playing && <Player src={outputUrl(job.id, playing.path)} hls={isPlaylist(playing)} label={playing.path} />}
        <ul class="files">
          {sorted.files.map((file) => (
            <li key={file.path} aria-current={file === playing ? 'true' : undefined}>
              <span class="what">{file.path}</span>
              <span class="num dim">{bytes(file.size)}</span>
              {sorted.playable.includes(file) && (
                <button type="button" class="small" disabled={file === playing} onClick={() => setChosen(file.path)}>
                  Play
                </button>
              )}
              <a class="button small" href={outputUrl(job.id, file.path, true)} download aria-label={`Download ${file.path}`}>
                Download
              </a>
            </li>
          ))}
          {sorted.segments.length > 0 && (
            <li class="dim">
              and {count(sorted.segments.length)} segments, {bytes(sorted.segments.reduce((sum, file) => sum + file.size, 0))}
            </li>
          )}
        </ul>
      </div>
      {sorted.pictures.length > 0 && (
        <div class="pictures">
          {sorted.pictures.slice(0, 24).map((file) => (
            <a key={file.path} href={outputUrl(job.id, file.path)} target="_blank" rel="noreferrer">
              <img src={outputUrl(job.id, file.path)} alt={file.path} loading="lazy" />
            </a>
          ))}
        </div>
      )}
    </section>
  );
}

function Timeline({ job }: { job: JobView }) {
  const [open, setOpen] = useState<number | null>(null);
  return (
    <section aria-label="Timeline">
      <h2>Timeline</h2>
      <ol class="timeline">
        {timeline(job).map((moment, at) => (
          <li key={at} class={`is-${moment.tone}`}>
            <time dateTime={moment.at}>{clock(moment.at, now.value)}</time>
            <i aria-hidden="true" />
            <div>
              <b>{moment.title}</b>{' '}
              {moment.worker && (may('admin') ? <a href={url(`/workers/${moment.worker.id}`)}>{moment.worker.name}</a> : moment.worker.name)}
              {moment.text && <p>{moment.text}</p>}
              {moment.command && (
                <button type="button" class="small quiet" aria-expanded={open === at} onClick={() => setOpen(open === at ? null : at)}>
                  ffmpeg command
                </button>
              )}
              {open === at && moment.command && <Command text={shell(moment.command)} label="The ffmpeg command" />}
            </div>
          </li>
        ))}
      </ol>
    </section>
  );
}

function ended({ tasks }: JobView): number {
  return tasks.flatMap((task) => task.attempts).filter((attempt) => attempt.finished_at).length;
}

function Logs({ id, state, ended }: { id: string; state: string; ended: number }) {
  const [logs, setLogs] = useState<AttemptLog[] | null>(null);
  const [problem, setProblem] = useState<Problem | null>(null);
  useEffect(() => {
    let over = false;
    get<AttemptLog[]>(`/v1/jobs/${id}/logs`)
      .then((logs) => !over && setLogs(logs))
      .catch((error: unknown) => !over && setProblem(asProblem(error)));
    return () => (over = true) && undefined;
  }, [id, ended]);
  const some = logs?.filter((log) => log.lines.length > 0) ?? [];
  return (
    <section aria-label="Logs">
      <h2>What ffmpeg said</h2>
      {problem && <Trouble problem={problem} what="The logs cannot be read" />}
      {logs && some.length === 0 && <p class="dim">Nothing{state === 'running' || state === 'queued' ? ' so far; it comes when an attempt ends' : ' worth a line'}.</p>}
      {some.map((log) => (
        <figure key={`${log.task}/${log.epoch}`} class="log">
          <figcaption>
            Attempt {log.epoch} on {log.worker}
          </figcaption>
          <pre tabIndex={0}>{log.lines.join('\n')}</pre>
        </figure>
      ))}
    </section>
  );
}
