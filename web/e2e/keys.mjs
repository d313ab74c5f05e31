// Signing in, in a real browser, against a coordinator that wants keys.
//
//   node web/e2e/keys.mjs BASE ADMINISTRATORS_KEY READERS_KEY VIEWERS_KEY
import { strict as assert } from 'node:assert';
import { ask, lead, watch } from './browser.mjs';

const [base, admin, reader, viewer] = process.argv.slice(2);

await lead(async (browser) => {
  // That nobody was let in is told by the browser, too.
  const enter = async () => watch(await (await browser.newContext()).newPage(), /status of 401/);
  const page = await enter();
  const field = page.getByLabel('API key');
  const signIn = async (key) => {
    await field.fill(key);
    await page.keyboard.press('Enter');
  };
  const offered = () => page.getByRole('navigation', { name: 'Pages' }).getByRole('link').allTextContents();

  console.log('a wrong key is refused, and the page says why');
  await page.goto(`${base}/ui/`);
  await field.waitFor();
  assert.equal(await page.getByRole('navigation').count(), 0, 'nothing is offered to nobody');
  await signIn(`${admin}x`);
  await page.getByRole('alert').filter({ hasText: /key/ }).waitFor();
  assert.equal(await field.getAttribute('aria-invalid'), 'true');

  console.log('the administrator sees everything');
  await signIn(admin);
  await page.locator('table.workers tbody tr').waitFor();
  assert.deepEqual(await offered(), ['Transcoders', 'Jobs', 'Streams']);
  await page.locator('table.workers').getByRole('link').first().click();
  await page.getByRole('button', { name: 'Drain', exact: true }).waitFor();
  await page.getByText('live', { exact: true }).waitFor();
  await page.reload();
  await page.locator('.panel').waitFor();
  const cookies = await page.context().cookies();
  assert(cookies.length === 1 && cookies[0].httpOnly && cookies[0].sameSite === 'Strict', JSON.stringify(cookies));
  assert(!JSON.stringify(await page.evaluate(() => [{ ...localStorage }, { ...sessionStorage }, document.cookie])).includes(admin));

  console.log('signing out leaves nothing behind');
  await page.getByRole('button', { name: 'Sign out' }).click();
  await field.waitFor();
  assert.equal(await page.locator('table').count(), 0);
  await page.goto(`${base}/ui/jobs`);
  await field.waitFor();

  console.log('a reader is offered its own jobs, to look at');
  await signIn(reader);
  await page.getByRole('heading', { name: 'Jobs' }).waitFor();
  assert.deepEqual(await offered(), ['Jobs']);
  assert.equal(await page.getByRole('button', { name: 'Choose files' }).count(), 0);
  assert.equal(await page.getByPlaceholder('Owner').count(), 0);
  await page.locator('table.jobs').getByRole('link').first().click();
  await page.locator('article.job h1').waitFor();
  assert.equal(await page.getByRole('button', { name: /Cancel|Retry|Remove|Raise/ }).count(), 0);
  await page.goto(`${base}/ui/`);
  await page.getByRole('heading', { name: 'Jobs' }).waitFor();

  console.log('a key that is revoked ends what it opened');
  await ask('revoke reader');
  await field.waitFor();

  console.log('a viewer is offered streams');
  await signIn(viewer);
  await page.locator('.empty').waitFor();
  assert.deepEqual(await offered(), ['Streams']);
  await page.getByText('live', { exact: true }).waitFor();
});
