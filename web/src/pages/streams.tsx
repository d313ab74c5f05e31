// Live streams: their sources, their variants, who watches, and what moved.

import { useEffect, useState } from 'preact/hooks';
import { follow } from '../api/events';
import { get } from '../api/http';
import { may } from '../api/session';
import type { Page, Problem, Profile, SourceSpec, StreamView, VariantView, WorkerRef } from '../api/types';
import { Empty, Figure, State, Trouble } from '../parts/basic';
import { Player } from '../parts/player';
import { between, bitrate, bytes, clock, count, counted, duration } from '../format';
import { go, route, url } from '../router';
import { now } from '../state/clock';
import { withStream } from '../state/streams';

export function sourceText(source: SourceSpec): string {
  return typeof source === 'string' ? source : (Object.values(source)[0] ?? '');
}

export function Streams() {
  const [streams, setStreams] = useState<StreamView[] | null>(null);
  const [problem, setProblem] = useState<Problem | null>(null);
  useEffect(
    () =>
      follow({
        subject: 'streams',
        read: () => get<Page<StreamView>>('/v1/streams'),
        put: (page) => (setStreams(page.items), setProblem(null)),
        hear: (event) => {
          if (event.event === 'stream') setStreams((known) => known && withStream(known, event.stream));
          else if (event.event === 'stream_gone') setStreams((known) => known && known.filter((stream) => stream.id !== event.id));
        },
        fail: setProblem,
      }),
    [],
  );
  const variants = streams?.flatMap((stream) => stream.variants) ?? [];
  const viewers = variants.reduce((sum, variant) => sum + variant.viewers, 0);
  const rate = variants.reduce((sum, variant) => sum + variant.bitrate * variant.viewers, 0);
  const lost = streams?.filter((stream) => stream.source_state.state === 'lost').length ?? 0;
  return (
    <>
      <dl class="figures" aria-label="Totals">
        <Figure name="Streams" value={count(streams?.length ?? 0)} note={lost > 0 ? <em class="bad">{lost} without source</em> : undefined} />
        <Figure name="Variants encoded" value={count(variants.length)} />
        <Figure name="Viewers" value={count(viewers)} />
        <Figure name="To viewers" value={bitrate(rate)} />
        <Figure name="Failovers" value={count(variants.reduce((sum, variant) => sum + variant.failovers.length, 0))} />
      </dl>
      <div class="tools">
        <h1>Streams</h1>
      </div>
      {problem && <Trouble problem={problem} what="The streams cannot be read" />}
      {streams?.length === 0 && (
        <Empty title="No live stream">
          <p>
            Add one: <code>ffmpegctl streams add news http://encoder.example/news.ts</code>
          </p>
          <p class="dim">It is pulled and encoded only while somebody watches, each variant once for all its viewers.</p>
        </Empty>
      )}
      <div class="streams">
        {streams?.map((stream) => (
          <Stream key={stream.id} stream={stream} />
        ))}
      </div>
    </>
  );
}

function Stream({ stream }: { stream: StreamView }) {
  const { source_state: source } = stream;
  const watched = route.value.path[1] === stream.name ? (route.value.query.get('profile') ?? '') : null;
  const viewers = stream.variants.reduce((sum, variant) => sum + variant.viewers, 0);
  return (
    <section class="stream" aria-label={stream.name}>
      <header>
        <h2>{stream.name}</h2>
        <State of={source.state} title={source.problem} />
        <span class="dim what">{sourceText(stream.source)}</span>
        <Watch stream={stream} />
      </header>
      {source.problem && <p class="reason is-failed">{source.problem}</p>}
      <dl class="facts wide">
        <Fact name="Source">{source.tracks.join(', ') || <span class="dim">{source.state === 'idle' ? 'not pulled while nobody watches' : 'not known yet'}</span>}</Fact>
        <Fact name="Bitrate">{bitrate(source.bitrate)}</Fact>
        <Fact name="Buffered">
          {duration(source.buffered_ms / 1000)} <span class="dim">· {bytes(source.bytes_held)}</span>
        </Fact>
        <Fact name="Lost packets">
          <span class={source.gaps > 0 ? 'bad' : ''}>{count(source.gaps)}</span>
          <span class="dim"> · {counted(source.generations, 'run')}</span>
        </Fact>
        <Fact name="Comes through">{source.worker ? <Worker of={source.worker} /> : <span class="dim">the coordinator</span>}</Fact>
        <Fact name="Viewers">{count(viewers)}</Fact>
      </dl>
      {watched !== null && <Player key={watched} src={liveUrl(stream.name, watched)} hls live label={`${stream.name} live`} />}
      {stream.variants.length > 0 ? (
        <table class="plain variants">
          <thead>
            <tr>
              <th scope="col">Variant</th>
              <th scope="col">State</th>
              <th scope="col">Worker</th>
              <th scope="col" class="num">Viewers</th>
              <th scope="col" class="num">Bitrate</th>
              <th scope="col" class="num">Sent</th>
              <th scope="col" class="num">Missing frames</th>
              <th scope="col">Failovers</th>
            </tr>
          </thead>
          <tbody>
            {stream.variants.map((variant) => (
              <Variant key={variant.profile} variant={variant} />
            ))}
          </tbody>
        </table>
      ) : (
        <p class="dim">Nobody watches: nothing is encoded.</p>
      )}
    </section>
  );
}

/** What tells this page from others behind the same address: the coordinator counts viewers by it. */
const viewer = Array.from(crypto.getRandomValues(new Uint32Array(2)), (number) => number.toString(36)).join('');

export function liveUrl(stream: string, profile: string): string {
  const file = profile ? `${encodeURIComponent(profile)}/index.m3u8` : 'master.m3u8';
  return `/live/${encodeURIComponent(stream)}/${file}?viewer=${viewer}`;
}

function Fact({ name, children }: { name: string; children: preact.ComponentChildren }) {
  return (
    <div>
      <dt>{name}</dt>
      <dd>{children}</dd>
    </div>
  );
}

function Worker({ of }: { of: WorkerRef }) {
  return may('admin') ? <a href={url(`/workers/${of.id}`)}>{of.name}</a> : <>{of.name}</>;
}

function Watch({ stream }: { stream: StreamView }) {
  const [profiles, setProfiles] = useState<string[]>(stream.profiles);
  const watching = route.value.path[1] === stream.name;
  useEffect(() => {
    if (stream.profiles.length > 0) return;
    void get<Page<Profile>>('/v1/profiles')
      .then((page) => setProfiles(page.items.map((profile) => profile.name)))
      .catch(() => undefined);
  }, [stream.id]);
  const [chosen, setChosen] = useState('');
  const profile = chosen || profiles.find((name) => name === 'h264-720p') || profiles[0] || '';
  if (watching) {
    return (
      <a class="button" href={url('/streams')}>
        Stop watching
      </a>
    );
  }
  return (
    <span class="watch">
      <select aria-label={`Profile of ${stream.name}`} value={profile} onChange={(event) => setChosen(event.currentTarget.value)}>
        {profiles.map((name) => (
          <option key={name}>{name}</option>
        ))}
      </select>
      <button type="button" class="primary" onClick={() => go(url(`/streams/${encodeURIComponent(stream.name)}`, { profile }))}>
        Watch
      </button>
    </span>
  );
}

function Variant({ variant }: { variant: VariantView }) {
  const active = variant.attempts.find((attempt) => attempt.role === 'active');
  const others = variant.attempts.filter((attempt) => attempt !== active);
  return (
    <tr>
      <th scope="row">{variant.profile}</th>
      <td>
        <State of={variant.state} title={variant.problem} />
        {variant.problem && <small>{variant.problem}</small>}
      </td>
      <td>
        {active ? <Worker of={active.worker} /> : <span class="dim">none</span>}
        <small>
          {active?.encoder} {active && `for ${duration(between(active.since, now.value))}`}
          {others.map((attempt) => ` · ${attempt.role} ${attempt.worker.name}`)}
        </small>
      </td>
      <td class="num">
        {count(variant.viewers)}
        {variant.dropped_viewers > 0 && <small class="bad">{count(variant.dropped_viewers)} dropped</small>}
      </td>
      <td class="num">{bitrate(variant.bitrate)}</td>
      <td class="num">{bytes(variant.bytes_sent)}</td>
      <td class={`num ${variant.missing_frames > 0 ? 'bad' : ''}`}>{count(variant.missing_frames)}</td>
      <td>
        {variant.failovers.length === 0 && <span class="dim">none</span>}
        <ul class="moves">
          {variant.failovers.slice(-4).reverse().map((move) => (
            <li key={move.at}>
              <span class="num dim">{clock(move.at, now.value)}</span> {move.from.name} → {move.to?.name ?? 'nobody yet'}
              <small>
                {move.reason}
                {move.stall_ms != null && `, stood for ${duration(move.stall_ms / 1000)}`}
              </small>
            </li>
          ))}
        </ul>
      </td>
    </tr>
  );
}
