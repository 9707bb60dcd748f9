// Starts the annotator on drawn faces, and a Chromium to look at it.

import { spawn } from "node:child_process";
import { mkdtempSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { chromium } from "playwright-core";

const PYTHON = process.env.PYTHON ?? "python3";
const FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
  "--disable-background-networking", "--disable-component-update", "--disable-sync"];
const DRAW = `
import sys
from pathlib import Path
import numpy as np
from PIL import Image
from ranfer.data.drawn import draw_face
from ranfer.vocab import Expression
folder, generator = Path(sys.argv[1]), np.random.default_rng(0)
folder.mkdir()
for number in range(int(sys.argv[2])):
    face = draw_face(list(Expression)[number % 8], generator, 224)
    Image.fromarray(face).save(folder / f"face{number:03d}.png")
`;

function finished(child) {
  return new Promise((done, failed) => child.on("exit", (code) => (code ? failed(new Error(`status ${code}`)) : done())));
}

export async function drawFaces(n) {
  const folder = mkdtempSync(join(tmpdir(), "ranfer-"));
  await finished(spawn(PYTHON, ["-c", DRAW, join(folder, "faces"), String(n)], { stdio: "inherit" }));
  return folder;
}

// A server whose links are known once it listens; words are further options.
export function serve(folder, port, ...words) {
  const options = ["--data", `folder:${join(folder, "faces")}`, "--split", "all", "--port", String(port),
    "--database", join(folder, "answers.sqlite"), ...words];
  const child = spawn(PYTHON, ["-m", "ranfer", "annotate", "serve", ...options], { stdio: ["ignore", "pipe", "inherit"] });
  const links = {};
  const server = { links, kill: () => new Promise((done) => { child.on("exit", done); child.kill("SIGKILL"); }) };
  const expected = words.filter((word) => word === "--annotator" || word === "--adjudicator").length;
  return new Promise((started, failed) => {
    let said = "";
    child.on("exit", (code) => failed(new Error(`the server ended with ${code}`)));
    child.stdout.on("data", (text) => {
      said += text;
      for (const [, name, link] of said.matchAll(/^(\w+)(?: \(adjudicator\))?: (http\S+)\n/gm)) links[name] = link;
      if (Object.keys(links).length === expected) started(server);
    });
  });
}

// What the database holds, as `ranfer annotate export` says: a line an answer.
export async function answers(folder) {
  const code = `
import json, sys
from ranfer.annotate.store import Store
print(json.dumps([answer._asdict() for answer in Store(sys.argv[1], create=False).standing()]))`;
  const child = spawn(PYTHON, ["-c", code, join(folder, "answers.sqlite")]);
  let said = "";
  child.stdout.on("data", (text) => { said += text; });
  await finished(child);
  return JSON.parse(said);
}

export const openBrowser = () => chromium.launch({ executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium", args: FLAGS });

// A window of somebody's own; whatever goes wrong in it is an error of the test.
export async function openPage(browser, link, options = {}) {
  const context = await browser.newContext({ viewport: { width: 1200, height: 780 }, ...options });
  const page = await context.newPage();
  page.errors = [];
  page.on("pageerror", (error) => page.errors.push(error.message));
  await page.goto(link);
  await page.waitForSelector("#face img, #face p");
  return page;
}

export const caption = (page) => page.textContent("#caption");

// A key, and the face that comes then: before it is there, another key would be no answer.
export async function press(page, key) {
  const face = await caption(page);
  await page.keyboard.press(key);
  await page.waitForFunction((before) => document.getElementById("caption").textContent !== before, face);
}
export const saved = (page) => page.waitForFunction(() => document.getElementById("saved").textContent === "all saved");
