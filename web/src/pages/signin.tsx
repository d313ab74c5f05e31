// The door, where the API asks for a key.

import { useState } from 'preact/hooks';
import { asProblem, keyWanted } from '../api/http';
import { signIn } from '../api/session';

export function SignIn({ onIn }: { onIn: () => void }) {
  const [wrong, setWrong] = useState<string | null>(null);
  const [busy, setBusy] = useState(false);
  const submit = async (event: SubmitEvent) => {
    event.preventDefault();
    const key = new FormData(event.currentTarget as HTMLFormElement).get('key');
    setBusy(true);
    setWrong(null);
    try {
      await signIn(String(key).trim());
      onIn();
    } catch (error) {
      const { status, detail } = asProblem(error);
      setWrong(status === 404 ? 'This coordinator takes keys by its API only; a newer one has sign-in.' : detail);
    } finally {
      setBusy(false);
    }
  };
  return (
    <main class="door">
      <form onSubmit={(event) => void submit(event)}>
        <h1>tvarr</h1>
        <p class="dim">{keyWanted.value}</p>
        <label>
          API key
          <input name="key" type="password" autocomplete="current-password" required autofocus aria-invalid={wrong !== null} aria-describedby="wrong" />
        </label>
        <p id="wrong" class="bad" role="alert">
          {wrong}
        </p>
        <button type="submit" class="primary" disabled={busy}>
          Sign in
        </button>
        <p class="dim">
          Whoever runs the farm makes one: <code>ffmpegctl keys create --scope read --owner NAME</code>. It stays in a cookie that no script can
          read.
        </p>
      </form>
    </main>
  );
}
