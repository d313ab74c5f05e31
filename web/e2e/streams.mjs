// A live stream in a real browser: watched in the page, moved when its worker dies.
//
//   node web/e2e/streams.mjs BASE STREAM PROFILE
import { strict as assert } from 'node:assert';
import { ask, asksNothing, changes, lead, watch } from './browser.mjs';

const [base, stream, profile] = process.argv.slice(2);

await lead(async (browser) => {
  const page = watch(await browser.newPage({ viewport: { width: 1440, height: 900 } }), /net::ERR_FAILED/);
  const section = page.getByRole('region', { name: stream });
  const variant = section.locator('table.variants tbody tr', { has: page.getByRole('rowheader', { name: profile, exact: true }) });

  console.log('a stream that nobody watches is idle');
  await page.goto(`${base}/ui/streams`);
  await section.locator('header .state.is-idle').waitFor();
  assert.equal(await section.locator('table.variants').count(), 0);

  console.log('it is watched in the page');
  await section.getByLabel(`Profile of ${stream}`).selectOption(profile);
  await section.getByRole('button', { name: 'Watch' }).click();
  await variant.locator('.state.is-live').waitFor();
  await section.locator('header .state.is-live').waitFor();
  const played = (seconds) => page.waitForFunction((seconds) => (document.querySelector('video')?.currentTime ?? 0) > seconds, seconds);
  await played(1);
  const viewers = (number) => variant.locator('td').nth(2).getByText(number, { exact: true }).waitFor();
  await viewers('1');
  await asksNothing(page, () => changes(variant.locator('td').nth(4), 3));

  console.log('its worker dies');
  const before = await variant.getByRole('link').first().textContent();
  const at = await page.evaluate(() => document.querySelector('video').currentTime);
  await ask(`kill ${before}`);
  const move = variant.locator('.moves li');
  await move.filter({ hasText: 'stood for' }).waitFor();
  const told = await move.textContent();
  console.log(`told: ${told}`);
  const after = await variant.getByRole('link').first().textContent();
  assert.notEqual(after, before);
  assert(told.includes(`${before} → ${after}`), told);
  await played(at + 3);
  await viewers('1');
  console.log('another tab watches it too');
  const other = watch(await browser.newPage());
  await other.goto(page.url());
  await viewers('2');
  await other.locator('table.variants').getByRole('link').first().click();
  const attempt = other.locator('.panel .attempt', { hasText: `live ${stream}` });
  await attempt.getByText(profile).waitFor();
  await attempt.getByRole('button', { name: 'ffmpeg command' }).click();
  assert.match((await attempt.locator('.command pre').textContent()) ?? '', /libx264/);
  await other.close();
  await page.getByLabel('Totals').getByText('Failovers').locator('..').filter({ hasText: /1$/ }).waitFor();

  console.log('it cannot be had for a while');
  await page.route('**/live/**', (route) => route.abort());
  await section.getByText('It is tried again').waitFor();
  const stopped = await page.evaluate(() => document.querySelector('video').currentTime);
  await page.unroute('**/live/**');
  await section.getByText('It is tried again').waitFor({ state: 'detached' });
  await page.waitForFunction((stopped) => {
    const video = document.querySelector('video');
    return !video.paused && video.readyState >= HTMLMediaElement.HAVE_FUTURE_DATA && video.currentTime !== stopped;
  }, stopped);

  console.log('nobody watches it any more');
  await section.getByRole('link', { name: 'Stop watching' }).click();
  await page.locator('video').waitFor({ state: 'detached' });
  await variant.locator('.state.is-lingering').waitFor();
});
