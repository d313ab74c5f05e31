// What every script here begins with: a browser, and a line to the test that runs it (tests/tests/pages/). What only the test can
// do is asked of it on standard output, a line each; it answers with a line on standard input.
import { strict as assert } from 'node:assert';
import { createInterface } from 'node:readline';
import { chromium } from 'playwright-core';

// A browser takes its time on a busy machine. What has to be quick is measured by itself.
export const PATIENCE = 60_000;

const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]();

export async function ask(what) {
  console.log(`ask ${what}`);
  const { value, done } = await lines.next();
  assert(!done, 'the test went away');
  return value;
}

const wrong = [];

/** Notes what a browser complains of; `expected` is what it has to. A violation of the policy is told here, too. */
export function watch(page, expected = /^$/) {
  page.setDefaultTimeout(PATIENCE);
  page.on('pageerror', (error) => wrong.push(`${page.url()}: ${error.message}`));
  page.on('console', (message) => {
    const text = `${message.text()} ${message.location().url}`;
    if (message.type() === 'error' && !expected.test(text)) wrong.push(`${page.url()}: ${text}`);
  });
  return page;
}

/** Fails if the page asks the API for anything while `happens` does. */
export async function asksNothing(page, happens) {
  const asked = [];
  const note = (request) => {
    if (new URL(request.url()).pathname.startsWith('/v1/')) asked.push(`${request.method()} ${request.url()}`);
  };
  page.on('request', note);
  await happens();
  page.off('request', note);
  assert(asked.length === 0, `${page.url()} asked for ${asked.join(', ')}`);
}

/** Waits until what is found says something else, `times` over. */
export async function changes(locator, times) {
  let last = await locator.textContent();
  for (let change = 0; change < times; change += 1) {
    await locator.page().waitForFunction(([element, last]) => element.textContent !== last, [await locator.elementHandle(), last]);
    last = await locator.textContent();
  }
}

/** The row of the worker that is called so. */
export function workerRow(page, name) {
  return page.locator('table.workers tbody tr', { has: page.getByRole('link', { name, exact: true }) });
}

/** Waits until the page says what was done. */
export function said(page, text) {
  return page.locator('.toasts').getByText(text).waitFor();
}

export function choosePreset(page, preset) {
  return page.getByLabel('Preset', { exact: true }).first().selectOption(preset);
}

/** Runs `script` with a browser. */
export async function lead(script) {
  const browser = await chromium.launch({
    executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
    args: ['--no-sandbox', '--no-proxy-server', '--disable-dev-shm-usage', '--mute-audio', '--autoplay-policy=no-user-gesture-required'],
  });
  try {
    await script(browser);
    assert.deepEqual(wrong, []);
    console.log('done');
  } finally {
    await browser.close();
  }
  process.exit(0);
}
