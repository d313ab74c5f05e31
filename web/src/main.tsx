import { effect } from '@preact/signals';
import { render } from 'preact';
import { useEffect, useState } from 'preact/hooks';
import { hush, listen, restWhileHidden, type Wish } from './api/events';
import { asProblem, keyWanted } from './api/http';
import { loadSession, may, session } from './api/session';
import type { Problem } from './api/types';
import { Asking } from './parts/ask';
import { Empty, Trouble } from './parts/basic';
import { Layout, pageAt } from './parts/layout';
import { Toasts } from './parts/toast';
import { JobPage } from './pages/job';
import { Jobs } from './pages/jobs';
import { SignIn } from './pages/signin';
import { Streams } from './pages/streams';
import { Transcoders } from './pages/transcoders';
import { route, startRouter } from './router';
import { startClock } from './state/clock';
import { followFleet } from './state/fleet';
import { warnBeforeLeaving } from './state/upload';

const AGAIN_MS = 3000;

/** What the page that is looked at lives on. */
function wished(): Wish {
  const [first, second] = route.value.path;
  const page = pageAt(first);
  if (page === 'streams' || !may('read')) return { topics: ['streams'] };
  if (page === 'jobs' || !may('admin')) return { topics: ['jobs', 'progress'], job: page === 'jobs' ? second : undefined };
  return { topics: ['workers', 'load', 'summary'], worker: first === 'workers' ? second : undefined };
}

function Page() {
  const [first, second] = route.value.path;
  const page = pageAt(first);
  const refused = <Empty title="This is not for your key">Ask whoever runs the farm for another one.</Empty>;
  if (page === 'streams') return may('view') ? <Streams /> : refused;
  if (page === 'jobs' || !may('admin')) {
    if (!may('read')) return may('view') ? <Streams /> : refused;
    return page === 'jobs' && second ? <JobPage key={second} id={second} /> : <Jobs />;
  }
  return <Transcoders />;
}

function App() {
  const [problem, setProblem] = useState<Problem | null>(null);
  const start = async () => {
    try {
      await loadSession();
      setProblem(null);
    } catch (error) {
      const problem = asProblem(error);
      setProblem(problem.status === 401 ? null : problem);
      // It may only be starting.
      if (problem.status === 0 || problem.status >= 500) window.setTimeout(() => void start(), AGAIN_MS);
    }
  };
  useEffect(() => void start(), []);
  useEffect(() => {
    const page = pageAt(route.value.path[0]);
    document.title = `${page === '' ? 'Transcoders' : page === 'jobs' ? 'Jobs' : 'Streams'} – tvarr`;
  }, [route.value]);
  if (keyWanted.value !== null) {
    return <SignIn onIn={() => void start()} />;
  }
  if (problem) {
    return (
      <main class="door">
        <Trouble problem={problem} what={problem.status === 0 ? 'The coordinator does not answer' : 'The coordinator lets nobody in from here'} />
      </main>
    );
  }
  if (!session.value) return null;
  return (
    <>
      <Layout>
        <Page />
      </Layout>
      <Asking />
      <Toasts />
    </>
  );
}

// The pages were built anew meanwhile: what is loaded later has other names.
window.addEventListener('vite:preloadError', () => location.reload());

startRouter();
startClock();
restWhileHidden();
followFleet();
effect(() => {
  const refused = () => loadSession().catch(() => undefined);
  if (session.value?.who && keyWanted.value === null) listen(wished(), refused);
  else hush();
});
warnBeforeLeaving();
const root = document.getElementById('app');
if (root) render(<App />, root);
