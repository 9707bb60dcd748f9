// From a key press to the next face on screen, in milliseconds, one a line: node time_keys.mjs LINK PRESSES

import { openBrowser, openPage, saved } from "./annotator.mjs";

const [, , link, presses] = process.argv;
const browser = await openBrowser();
const page = await openPage(browser, link);
await page.evaluate(() => {
  window.times = [];
  let pressed = 0;
  addEventListener("keydown", (event) => { pressed = event.timeStamp; }, { capture: true });
  new MutationObserver(() => {
    const since = pressed;
    // The second frame begins when the first, with the new face, is on its way to the screen.
    requestAnimationFrame(() => requestAnimationFrame(() => window.times.push(performance.now() - since)));
  }).observe(document.getElementById("face"), { childList: true });
});
for (let number = 0; number < Number(presses); number++) {
  await page.keyboard.press("nulse"[number % 5]);
  await page.waitForTimeout(200);
}
await saved(page);
console.log((await page.evaluate(() => window.times)).join("\n"));
await browser.close();
