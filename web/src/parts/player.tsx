// A video in the page: by hls.js, or by the browser itself. hls.js is loaded when it is needed first.

import { useEffect, useRef, useState } from 'preact/hooks';

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
      player.on(Hls.Events.ERROR, (_, error) => {
        if (!error.fatal) return;
        if (error.type === Hls.ErrorTypes.MEDIA_ERROR) player.recoverMediaError();
        else setWrong(`It cannot be played: ${error.details}${error.response ? ` (${error.response.code})` : ''}`);
      });
      player.loadSource(src);
      player.attachMedia(element);
      if (live) void element.play().catch(() => undefined);
    });
    return () => {
      over = true;
      end();
    };
  }, [src, hls]);
  return (
    <div class="player">
      <video ref={video} controls playsInline muted={live} aria-label={label} onError={() => setWrong('This browser cannot play it; download it instead.')} />
      {wrong && <p class="bad">{wrong}</p>}
    </div>
  );
}
