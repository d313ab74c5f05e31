// A video in the page: by hls.js, or by the browser itself. hls.js is loaded when it is needed first.

import { useEffect, useRef, useState } from 'preact/hooks';

/** What cannot be decoded is passed over once in so long; twice means that it goes on so. */
const MEND_MS = 5000;
/** A live stream is asked for again after so long: its coordinator may be starting anew. */
const AGAIN_MS = 2000;

export function Player({ src, hls, live = false, label }: { src: string; hls: boolean; live?: boolean; label: string }) {
  const video = useRef<HTMLVideoElement>(null);
  const [wrong, setWrong] = useState<string | null>(null);
  useEffect(() => {
    const element = video.current;
    if (!element) return;
    setWrong(null);
    if (!hls) {
      element.src = src;
      return () => element.removeAttribute('src');
    }
    let over = false;
    let timer = 0;
    let end = () => {};
    void import('hls.js').then(({ default: Hls }) => {
      if (over) return;
      if (!Hls.isSupported()) {
        element.src = src;
        return;
      }
      // Without a worker: it would come from a blob, which the policy forbids as a script.
      const player = new Hls({ enableWorker: false, lowLatencyMode: live });
      end = () => player.destroy();
      let mended = -Infinity;
      const start = (play: boolean) => {
        player.loadSource(src);
        if (play) void element.play().catch(() => undefined);
      };
      player.on(Hls.Events.FRAG_BUFFERED, () => setWrong(null));
      player.on(Hls.Events.ERROR, (_, error) => {
        if (!error.fatal) return;
        const at = performance.now();
        if (error.type === Hls.ErrorTypes.MEDIA_ERROR && at - mended > MEND_MS) {
          mended = at;
          return player.recoverMediaError();
        }
        const problem = `It cannot be played: ${error.details}${error.response ? ` (${error.response.code})` : ''}`;
        setWrong(live ? `${problem}. It is tried again.` : problem);
        window.clearTimeout(timer);
        if (live) timer = window.setTimeout(() => start(!element.paused), AGAIN_MS);
      });
      player.attachMedia(element);
      start(live);
    });
    return () => {
      over = true;
      window.clearTimeout(timer);
      end();
    };
  }, [src, hls]);
  const fail = (event: { currentTarget: HTMLVideoElement }) => {
    // What hls.js plays it tells of itself.
    if (event.currentTarget.src.startsWith('blob:')) return;
    setWrong(`This browser cannot play it; ${live ? 'another one can' : 'download it instead'}.`);
  };
  return (
    <div class="player">
      <video ref={video} controls playsInline muted={live} aria-label={label} onError={fail} />
      {wrong && <p class="bad">{wrong}</p>}
    </div>
  );
}
