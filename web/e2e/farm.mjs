// The pages in a real browser, against a farm of five that a test runs.
//
//   node web/e2e/farm.mjs BASE SHORT_CLIP LONG_CLIP
import { strict as assert } from 'node:assert';
import { basename } from 'node:path';
import { PATIENCE, ask, asksNothing, changes, choosePreset, lead, watch, workerRow } from './browser.mjs';

const [base, short, long] = process.argv.slice(2);
/** A state that changed is on the page by then. */
const TOLD_MS = 2000;

await lead(async (browser) => {
  const page = watch(await browser.newPage({ viewport: { width: 1600, height: 900 } }));
  const row = (name) => workerRow(page, name);
  const state = (name, state) => row(name).locator(`.state.is-${state}`).waitFor();

  console.log('the farm is shown');
  // From the begin of the navigation to the first row that can be clicked, as the page itself saw it.
  await page.addInitScript(() => {
    const look = () => {
      if (document.querySelector('table.workers tbody tr a')) window.interactive ??= performance.now();
      else requestAnimationFrame(look);
    };
    look();
  });
  await page.goto(`${base}/`);
  await page.waitForURL('**/ui/');
  await page.locator('table.workers tbody tr:nth-child(5)').waitFor();
  assert.equal(await page.locator('table.workers .state.is-online').count(), 5);

  console.log(`interactive after ${Math.round(await page.evaluate(() => window.interactive))} ms, from nothing`);
  await page.reload();
  await page.waitForFunction(() => window.interactive !== undefined);
  console.log(`interactive after ${Math.round(await page.evaluate(() => window.interactive))} ms, from its cache`);

  console.log('a file becomes a job, which is seen running');
  await page.getByRole('navigation').getByRole('link', { name: 'Jobs' }).click();
  await choosePreset(page, 'h264');
  await page.getByLabel('Files').setInputFiles(long);
  await page.locator('.now .progress').waitFor();
  await page.locator('article.job .state.is-running').waitFor();
  const worker = await page.locator('.facts').getByRole('link').first().textContent();
  // It is read without its events if they come late, and once more when they do; only they tell of a second change.
  await changes(page.locator('.now .figures'), 2);
  await asksNothing(page, () => changes(page.locator('.now .figures'), 3));

  console.log('its worker drains while it runs');
  await page.locator('.facts').getByRole('link', { name: worker }).click();
  await changes(page.locator('.panel .attempt .numbers'), 2);
  await asksNothing(page, async () => {
    await changes(page.locator('.panel .attempt .numbers'), 3);
    await changes(row(worker).locator('.c-work'), 1);
    await changes(page.locator('dl.figures'), 1);
  });
  await page.getByRole('button', { name: 'Drain', exact: true }).click();
  await state(worker, 'draining');
  await page.locator('.panel .state.is-draining').waitFor();
  await page.getByRole('button', { name: 'ffmpeg command' }).click();
  assert.match((await page.locator('.panel .command pre').textContent()) ?? '', /-i/);

  console.log('a worker dies');
  const victim = ['worker-1', 'worker-2'].find((name) => name !== worker);
  // The page notes by itself when it shows it, so that a slow test counts for nothing.
  await page.evaluate((name) => {
    const look = () => {
      const row = [...document.querySelectorAll('table.workers tbody tr')].find((row) => row.querySelector('a')?.textContent === name);
      if (row?.querySelector('.state.is-lost')) window.seenLost ??= Date.now();
      else requestAnimationFrame(look);
    };
    look();
  }, victim);
  const killed = Number(await ask(`kill ${victim}`));
  await page.waitForFunction(() => window.seenLost !== undefined);
  const after = (await page.evaluate(() => window.seenLost)) - killed;
  console.log(`it is shown after ${after} ms`);
  assert(after < TOLD_MS, `the page took ${after} ms to tell that ${victim} is lost`);

  console.log('the drained one takes work again');
  await page.getByRole('button', { name: 'Resume' }).click();
  await state(worker, 'online');

  console.log('a job is cancelled');
  await page.goto(`${base}/ui/jobs?state=running`);
  await page.locator('table.jobs').getByRole('link').first().click();
  await page.getByRole('button', { name: 'Cancel', exact: true }).click();
  await page.getByRole('button', { name: 'Cancel the job' }).click();
  await page.locator('article.job .state.is-cancelled').waitFor();

  console.log('a file is uploaded, encoded and played');
  await page.getByRole('navigation').getByRole('link', { name: 'Jobs' }).click();
  await choosePreset(page, 'hls-ladder');
  await page.getByLabel('Files').setInputFiles(short);
  await page.getByRole('heading', { name: basename(short) }).waitFor();
  await page.locator('article.job .state.is-succeeded').waitFor({ timeout: 2 * PATIENCE });
  const video = page.locator('video');
  await video.waitFor();
  await video.evaluate((video) => {
    video.muted = true;
    return video.play();
  });
  await page.waitForFunction(() => (document.querySelector('video')?.currentTime ?? 0) > 0.5);
  assert.equal(await page.locator('.timeline li.is-succeeded').count(), 1);

  console.log('by keyboard');
  await page.goto(`${base}/ui/?state=online`);
  await page.locator('table.workers tbody tr').first().waitFor();
  await page.getByRole('link', { name: worker, exact: true }).focus();
  await page.keyboard.press('Enter');
  await page.locator('.panel .actions').waitFor();
  await page.keyboard.press('Tab');
  const focused = () => page.evaluate(() => document.activeElement.getAttribute('aria-label') ?? document.activeElement.textContent);
  assert.equal(await focused(), 'Close', 'the panel is where one goes on');
  const outline = await page.evaluate(() => getComputedStyle(document.activeElement).outlineStyle);
  assert.equal(outline, 'solid', 'it is seen where one is');
  await page.keyboard.press('Escape');
  await page.locator('.panel').waitFor({ state: 'detached' });
  await page.waitForFunction(() => document.activeElement !== document.body);
  assert.equal(await focused(), worker, 'closing it leads back');
  assert.match(page.url(), /\/ui\/\?state=online$/, 'to the list as it was');

  console.log('on a phone');
  const context = await browser.newContext({ viewport: { width: 390, height: 844 }, isMobile: true, hasTouch: true, colorScheme: 'light' });
  const phone = watch(await context.newPage());
  const fits = async (path) => {
    const wide = await phone.evaluate(() => {
      const most = document.documentElement.clientWidth;
      const beyond = [...document.querySelectorAll('main *')].filter((each) => each.getBoundingClientRect().right > most + 1 && !each.closest('pre, .chips'));
      return [document.documentElement.scrollWidth - most, ...beyond.map((each) => each.outerHTML.slice(0, 120))];
    });
    assert.deepEqual(wide, [0], `${path} is wider than a phone`);
  };
  for (const [path, sign] of [['/ui/', 'table.workers tr a'], ['/ui/jobs', 'table.jobs tr a'], ['/ui/streams', '.empty'], ['/ui/?connect=1', '.panel .command']]) {
    await phone.goto(base + path);
    await phone.locator(sign).first().waitFor();
    await fits(path);
  }
  await phone.goto(`${base}/ui/jobs?state=succeeded`);
  await phone.locator('table.jobs').getByRole('link').first().click();
  await phone.locator('article.job .timeline li.is-succeeded').waitFor();
  await fits('a job');
  await phone.goto(`${base}/ui/`);
  await phone.locator('table.workers').getByRole('link').first().click();
  await phone.locator('.panel .actions').waitFor();
  await fits('a worker');
});
