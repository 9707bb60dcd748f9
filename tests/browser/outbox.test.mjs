// What waits in the browser, without one: the outbox and the requests on stand-ins for what a browser brings.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";

class Storage {
  getItem(key) { return this[key] ?? null; }
  setItem(key, value) { this[key] = value; }
  removeItem(key) { delete this[key]; }
}
Object.assign(globalThis, { localStorage: new Storage(), sessionStorage: new Storage(), location: { hash: "" } });

function load(name) {
  const source = readFileSync(new URL(`../../src/ranfer/annotate/static/${name}`, import.meta.url), "utf8");
  return import(`data:text/javascript,${encodeURIComponent(source)}`);
}
const { Outbox } = await load("outbox.js");
const api = await load("api.js");

const kept = (owner) => Object.keys(localStorage).filter((key) => key.startsWith(`ranfer-answer:${owner}:`)).length;

// An outbox with one answer, to which the server replies with each of these statuses in turn; null takes it.
async function send(owner, ...statuses) {
  const told = [];
  const reply = async () => {
    const status = statuses.shift();
    if (status !== null) throw Object.assign(new Error(`status ${status}`), { status });
  };
  const outbox = new Outbox(owner, reply, (error, record) => told.push([error?.status, record?.face, kept(owner)]));
  await outbox.idle();
  outbox.push({ ticket: "t", face: "a" });
  await outbox.idle();
  return { outbox, told };
}

test("an answer that the server does not take now is kept, and sent again", async () => {
  await Promise.all([undefined, 401, 403, 413, 421, 500].map(async (status) => {
    const { told } = await send(status, status, null);
    assert.deepEqual(told, [[status, undefined, 1], [undefined, "a", 0]]);
  }));
});

test("an answer that will never be taken is told and dropped", async () => {
  for (const status of [409, 422]) {
    const { told } = await send(status, status);
    assert.deepEqual(told, [[status, "a", 0]]);
  }
});

test("an answer that the browser cannot keep is sent all the same, and the page is told", async () => {
  const sent = [];
  const outbox = new Outbox("full", async (record) => sent.push(record.face), () => {});
  await outbox.idle();
  localStorage.setItem = () => { throw new Error("full"); };
  try {
    assert.throws(() => outbox.push({ ticket: "t", face: "a" }), /full/);
  } finally {
    delete localStorage.setItem;
  }
  assert.equal(outbox.size, 1);
  await outbox.idle();
  assert.deepEqual([sent, outbox.size], [["a"], 0]);
});

test("an answer to a face that is not asked now holds nothing up, and is sent by the next page", async () => {
  const { outbox, told } = await send("list", 404);
  assert.deepEqual([told, outbox.size, outbox.aside], [[[404, "a", 1]], 0, 1]);
  const other = new Outbox("other", () => assert.fail("another study's answer is sent"), () => {});
  await other.idle();
  const sent = [];
  await new Outbox("list", async (record) => sent.push(record.face), () => {}).idle();
  assert.deepEqual([sent, kept("list")], [["a"], 0]);
});

test("a status counts where the annotator gives it, and not where a proxy does", async () => {
  for (const [body, status] of [['{"error": "no face"}', 404], ["<h1>Not found</h1>", undefined]]) {
    globalThis.fetch = async () => new Response(body, { status: 404 });
    await assert.rejects(api.session(), (error) => error.status === status);
  }
});
