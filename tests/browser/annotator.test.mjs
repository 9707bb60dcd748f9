// The annotator in a real Chromium, by keyboard, by touch, in two windows, over a reload and a restart.

import assert from "node:assert/strict";
import { after, before, beforeEach, afterEach, test } from "node:test";
import { rmSync } from "node:fs";
import { answers, caption, drawFaces, openBrowser, openPage, press, saved, serve } from "./annotator.mjs";

const FACES = 60;
const PEOPLE = ["--annotator", "anna", "--annotator", "ben", "--adjudicator", "judge"];
let browser, folder, server;
let port = 8700;

before(async () => {
  browser = await openBrowser();
  folder = await drawFaces(FACES);
});
after(async () => {
  await browser.close();
  rmSync(folder, { recursive: true });
});
beforeEach(async () => {
  for (const end of ["", "-wal", "-shm"]) rmSync(`${folder}/answers.sqlite${end}`, { force: true });
  port += 1;
  server = await serve(folder, port, "--attributes", "occlusion", ...PEOPLE);
});
afterEach(() => server.kill());

test("five faces a second by keyboard alone: every key is an answer to the face that was shown", async () => {
  const page = await openPage(browser, server.links.anna);
  const expected = {};
  const keys = { n: "none", u: "upper", l: "lower", s: "side", e: "eyewear" };
  for (let number = 0; number < 40; number++) {
    const key = Object.keys(keys)[number % 5];
    const face = await caption(page);
    assert.ok(!(face in expected), `${face} was shown twice`);
    expected[face] = keys[key];
    const start = Date.now();
    await page.keyboard.press(key);
    await page.waitForTimeout(Math.max(0, 200 - (Date.now() - start)));
  }
  await saved(page);
  const found = Object.fromEntries((await answers(folder)).map((answer) => [answer.face, answer.said.occlusion[0]]));
  assert.deepEqual(found, expected);
  assert.match(await page.textContent("#counts"), /^40 of 60/);
  assert.match(await page.textContent("#pace"), /\d+ a minute, \d+ s left/);
  assert.deepEqual(page.errors, []);
});

test("several values, unsure, skip, back, undo and a note", async () => {
  const page = await openPage(browser, server.links.anna);
  const faces = [];
  const shown = async () => { faces.push(await caption(page)); };
  await shown();
  await page.keyboard.press("Shift+U");
  await page.keyboard.press("Shift+E");
  assert.equal(await page.getAttribute("[data-value=upper]", "aria-pressed"), "true");
  assert.equal(await caption(page), faces[0], "several values wait for Accept");
  await page.keyboard.press("Enter");
  await shown();
  await page.keyboard.press("/");
  await page.keyboard.type("nul, a note whose letters are no keys");
  await page.keyboard.press("Enter");
  await page.keyboard.press("x");
  await shown();
  await page.keyboard.press("ArrowRight");
  await shown();
  await page.keyboard.press("n");
  await shown();
  await saved(page);
  await page.keyboard.press("z");
  await page.waitForFunction((face) => document.getElementById("caption").textContent === face, faces[3]);
  await page.keyboard.press("ArrowLeft");
  await page.keyboard.press("ArrowLeft");
  assert.equal(await caption(page), faces[1]);
  assert.equal(await page.inputValue("#note"), "nul, a note whose letters are no keys");
  await page.keyboard.press("ArrowLeft");
  assert.equal(await caption(page), faces[0]);
  await page.keyboard.press("s");
  await saved(page);
  const found = Object.fromEntries((await answers(folder)).map((answer) => [answer.face, answer]));
  assert.deepEqual(Object.keys(found).sort(), faces.slice(0, 3).sort());
  assert.deepEqual(found[faces[0]].said, { occlusion: ["side"] });
  assert.equal(found[faces[1]].status, "unsure");
  assert.equal(found[faces[2]].status, "skipped");
  assert.deepEqual(page.errors, []);
});

test("a reload in the middle of fast work goes on at the next face, and back and undo still work", async () => {
  const page = await openPage(browser, server.links.anna);
  for (let number = 0; number < 7; number++) await page.keyboard.press("u");
  const next = await caption(page);
  await page.reload();
  await page.waitForSelector("#face img");
  assert.equal(await caption(page), next);
  await saved(page);
  assert.equal((await answers(folder)).length, 7);
  await page.keyboard.press("z");
  await page.waitForFunction((face) => document.getElementById("caption").textContent !== face, next);
  await page.keyboard.press("ArrowRight");
  await saved(page);
  assert.equal((await answers(folder)).filter((answer) => answer.status === "answered").length, 6);
  assert.deepEqual(page.errors, []);
});

test("a server that is killed and started again in the middle loses nothing, and the page goes on by itself", async () => {
  const page = await openPage(browser, server.links.anna);
  for (let number = 0; number < 5; number++) await press(page, "u");
  await server.kill();
  for (let number = 0; number < 4; number++) await press(page, "e");
  await page.waitForFunction(() => document.getElementById("saved").textContent.startsWith("offline: "));
  server = await serve(folder, port, "--attributes", "occlusion", ...PEOPLE);
  await saved(page);
  for (let number = 0; number < 20; number++) await press(page, "n");
  await saved(page);
  const found = (await answers(folder)).map((answer) => answer.said.occlusion[0]);
  assert.deepEqual([found.filter((kind) => kind === "u" || kind === "upper").length, found.filter((kind) => kind === "eyewear").length], [5, 4]);
  assert.equal(found.length, 29);
  assert.deepEqual(page.errors, []);
});

test("undo waits for no server: it is refused while an answer is not saved, and the other keys go on", async () => {
  const page = await openPage(browser, server.links.anna);
  await press(page, "u");
  await saved(page);
  await server.kill();
  await press(page, "e");
  await page.keyboard.press("z");
  assert.match(await page.textContent("#message"), /Undo works once all answers are saved/);
  await press(page, "n");
  server = await serve(folder, port, "--attributes", "occlusion", ...PEOPLE);
  await saved(page);
  await press(page, "z");
  assert.equal((await answers(folder)).length, 2);
  assert.deepEqual(page.errors, []);
});

test("an answer that is refused for good counts for nothing, and undo does not meet it", async () => {
  const page = await openPage(browser, server.links.anna);
  await page.route("**/api/answers", (route) => route.fulfill({ status: 409, json: { error: "already answered" } }));
  await press(page, "u");
  await saved(page);
  assert.match(await page.textContent("#message"), /already answered/);
  assert.match(await page.textContent("#counts"), /^0 of 60/);
  await page.keyboard.press("z");
  assert.match(await page.textContent("#message"), /nothing to undo/);
});

test("two windows of one annotator at once share the work", async () => {
  const first = await openPage(browser, server.links.anna);
  const second = await first.context().newPage();
  await second.goto(server.links.anna);
  await second.waitForSelector("#face img");
  for (let number = 0; number < 12; number++) {
    const [here, there] = number % 2 ? [first, second] : [second, first];
    await here.keyboard.press("u");
    const face = await caption(here);
    await there.waitForFunction((next) => document.getElementById("caption").textContent === next, face);
  }
  await Promise.all([saved(first), saved(second)]);
  const found = await answers(folder);
  assert.equal(found.length, 12);
  assert.equal(new Set(found.map((answer) => answer.face)).size, 12);
  for (const page of [first, second]) assert.equal(await page.textContent("#message"), "");
});

test("two annotators at once are blind to each other, and the adjudicator decides what they differ on", async () => {
  const [anna, ben] = await Promise.all(["anna", "ben"].map((name) => openPage(browser, server.links[name])));
  const work = async (page, key) => {
    for (let number = 0; number < FACES; number++) {
      const odd = (await caption(page)).endsWith("7") && key === "u";
      await press(page, odd ? "s" : "n");
    }
    await page.waitForFunction(() => document.querySelector("#face p")?.textContent.startsWith("All faces"));
    await saved(page);
  };
  await Promise.all([work(anna, "u"), work(ben, "n")]);
  assert.equal(await ben.isVisible("#others"), false);
  const judge = await openPage(browser, server.links.judge);
  assert.match(await judge.textContent("#counts"), /^0 of 6/);
  assert.match(await judge.textContent("#others"), /anna\s*side[\s\S]*ben\s*none/);
  for (let number = 0; number < 6; number++) await judge.keyboard.press("s");
  await judge.waitForFunction(() => document.querySelector("#face p")?.textContent.startsWith("No faces left"));
  assert.equal((await answers(folder)).filter((answer) => answer.final).length, 6);
  for (const page of [anna, ben, judge]) assert.deepEqual(page.errors, []);
});

test("by touch, on a small screen, everything can be reached", async () => {
  const phone = { viewport: { width: 390, height: 844 }, hasTouch: true, isMobile: true };
  const page = await openPage(browser, server.links.anna, phone);
  const face = await caption(page);
  await page.tap("[data-action=several]");
  await page.tap("[data-value=upper]");
  await page.tap("[data-value=lower]");
  await page.tap("[data-action=accept]");
  await page.tap("[data-value=none]");
  await saved(page);
  const found = await answers(folder);
  assert.deepEqual(found[0].said, { occlusion: ["lower", "upper"] });
  assert.equal(found[0].face, face);
  assert.equal(found.length, 2);
  assert.equal(await page.evaluate(() => document.documentElement.scrollWidth), 390);
});

test("a screen reader is told the questions, the state of every button, and each face", async () => {
  const page = await openPage(browser, server.links.anna);
  await page.getByRole("group", { name: /What covers the face/ }).waitFor();
  await page.getByRole("button", { name: "eyewear", pressed: false }).waitFor();
  await page.getByRole("img", { name: `Face ${await caption(page)}` }).waitFor();
  assert.match(await page.getByRole("status").textContent(), /face face\d+/);
  for (let number = 0; number < 2; number++) await page.keyboard.press("Tab");
  assert.equal(await page.evaluate(() => document.activeElement.dataset.value), "none");
  await page.keyboard.press("Space"); // presses the button that has the focus
  await saved(page);
  assert.equal((await answers(folder)).length, 1);
  assert.equal(await page.evaluate(() => document.activeElement.dataset.value), "none");
});

test("light and dark follow the system, and the choice is kept", async () => {
  const page = await openPage(browser, server.links.anna, { colorScheme: "dark" });
  const theme = () => page.evaluate(() => document.documentElement.dataset.theme);
  assert.equal(await theme(), "dark");
  await page.click("#theme");
  await page.reload();
  await page.waitForSelector("#face img");
  assert.equal(await theme(), "light");
});

test("without a token the page says what to do, and the token is nowhere to be seen", async () => {
  const page = await openPage(browser, `http://127.0.0.1:${port}/`);
  assert.match(await page.textContent("#face"), /open your personal link/);
  const anna = await openPage(browser, server.links.anna);
  assert.equal(anna.url(), `http://127.0.0.1:${port}/`);
});
