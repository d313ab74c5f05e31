// The coordinator goes away and comes back under a page.
//
//   node web/e2e/connection.mjs BASE
import { strict as assert } from 'node:assert';
import { ask, lead, watch, workerRow } from './browser.mjs';

const [base] = process.argv.slice(2);

await lead(async (browser) => {
  const page = watch(await browser.newPage({ viewport: { width: 1440, height: 900 } }), /net::ERR_/);
  const row = (name) => workerRow(page, name);
  const line = (text) => page.locator('.top [role=status]').getByText(text, { exact: true }).waitFor();
  const banner = page.getByRole('alert').getByText('The coordinator does not answer.');

  console.log('all is well, but for the time on this machine');
  await page.addInitScript(() => {
    const real = Date.now;
    Date.now = () => real() + 5 * 3600 * 1000;
  });
  await page.goto(`${base}/ui/`);
  await row('first').locator('.state.is-online').waitFor();
  await line('live');
  assert.match((await row('first').locator('.c-up').textContent()) ?? '', /^[\d.]+ (s|min)$/, 'it goes by the coordinator’s time');
  assert.equal(await banner.count(), 0);
  await page.getByRole('link', { name: 'first', exact: true }).click();
  const drain = page.getByRole('button', { name: 'Drain', exact: true });
  await drain.waitFor();
  await page.evaluate(() => (window.loadedOnce = true));

  console.log('the coordinator dies');
  await ask('kill the coordinator');
  await banner.waitFor();
  await line('not connected');
  await row('first').locator('.state.is-online').waitFor();

  console.log('what is asked of it meanwhile is refused in words');
  await drain.click();
  await page.locator('.toasts .bad').getByText('look whether this was done').waitFor();
  await page.getByRole('navigation').getByRole('link', { name: 'Jobs' }).click();
  await page.locator('.trouble').getByText('asked again as soon as it is back').waitFor();

  console.log('it comes back');
  await ask('start it without the first worker and with a second');
  await page.locator('.trouble').waitFor({ state: 'detached' });
  await banner.waitFor({ state: 'detached' });
  await line('live');
  await page.getByRole('navigation').getByRole('link', { name: 'Transcoders' }).click();
  await row('second').locator('.state.is-online').waitFor();
  await row('first').locator('.state.is-online').waitFor({ state: 'detached' });
  assert(await page.evaluate(() => window.loadedOnce), 'the page was loaded again');
});
