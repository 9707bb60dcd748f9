// The flow of work: a face is shown, answered by a key, and the next one is there before its answer is saved.

import * as api from "./api.js";
import { Outbox } from "./outbox.js";
import * as view from "./view.js";

const AHEAD = 12; // faces known in advance, with their pictures
const NEIGHBOURS = 4; // to either side
const BREAK = 60; // seconds; a face that was shown longer says nothing of the pace
const REMEMBERED = 50; // answers that the pace follows from

let session, outbox, channel;
let ahead = []; // faces to come
const behind = []; // faces passed, the latest last
const made = []; // answers that undo takes back, the latest last
let current = null;
let draft = { said: {}, touched: new Set(), several: false };
let since = 0; // when the face came on screen
let seen = false; // whether it did; a key that comes before answers nothing
let counts = { answered: 0, unsure: 0, skipped: 0 };
let changes = 0; // answers given and taken back in this window
let trouble = false;
let busy = false; // while an undo is on its way
let fetching = null;
const paces = []; // seconds spent on the latest faces
const pictures = new Map(); // promises of images by face

function picture(face) {
  if (!pictures.has(face)) {
    const coming = api.picture(face);
    coming.catch(() => pictures.delete(face)); // it may come another time
    pictures.set(face, coming);
  }
  return pictures.get(face);
}

function forgetPictures() {
  const near = new Set([...behind.slice(-AHEAD), current, ...ahead].map((face) => face?.id));
  for (const [face, coming] of pictures) {
    if (near.has(face)) continue;
    pictures.delete(face);
    coming.then((image) => URL.revokeObjectURL(image.src), () => {});
  }
}

async function fetchAhead() {
  const before = outbox.size ? null : changes;
  const told = await api.faces(Math.min(ahead.length + outbox.size + AHEAD + 1, 100));
  if (before === changes) counts = told.counts; // else they are older than what was said meanwhile
  // A face that was answered here is not open, even where the server did not know that yet when it replied.
  const done = new Set(behind.filter((face) => face.answer && face.answer.status !== "skipped").map((face) => face.id));
  const known = new Set([...ahead.map((face) => face.id), current?.id]);
  ahead.push(...told.faces.filter((face) => !known.has(face.id) && !done.has(face.id) && !outbox.holds(face.id)));
  ahead.forEach((face) => picture(face.id).catch(() => {}));
  forgetPictures();
}

// Whether the server told which faces come; null where there was no need to ask.
function refill() {
  if (ahead.length < AHEAD / 2) {
    fetching ??= fetchAhead().then(() => true, () => false).finally(() => { fetching = null; });
  }
  return fetching;
}

async function next() {
  if (ahead.length) return show(ahead.shift());
  current = null;
  seen = false;
  while (!ahead.length) {
    const told = await refill();
    if (!told) {
      view.showWords("Cannot reach the server. Your answers are kept in this browser and will be sent when it is back.");
      await new Promise((wake) => setTimeout(wake, 1000));
    } else if (!ahead.length && outbox.size) await outbox.idle();
    else break;
    if (current) return; // somebody went back meanwhile
  }
  if (!current) await show(ahead.shift() ?? null);
}

async function show(face) {
  current = face;
  seen = false;
  const answer = face?.answer && face.answer.status !== "skipped" ? face.answer : null;
  draft = {
    said: { ...(answer ? answer.said : face?.suggested) },
    touched: new Set(answer ? Object.keys(answer.said) : []),
    several: false,
  };
  view.showDraft(draft);
  showProgress();
  if (!face) {
    view.note().value = "";
    const words = session.adjudicator ? "No faces left to decide." : "All faces are answered. Thank you!";
    view.showWords(words);
    view.say(words);
    view.showStrip([], 0);
    return;
  }
  try {
    const image = await picture(face.id);
    if (current !== face) return;
    view.showFace(face, image);
    view.say(`${answer ? `${spoken(answer)}: ` : ""}face ${face.id}`);
  } catch (error) {
    if (current !== face) return;
    view.showWords(error.message, face.id);
    view.say(`Face ${face.id} cannot be shown`);
  }
  since = performance.now();
  seen = true;
  refill();
  await showNeighbours(face);
}

async function showNeighbours(face) {
  const before = behind.slice(-NEIGHBOURS), after = ahead.slice(0, NEIGHBOURS);
  const found = await Promise.allSettled([...before, face, ...after].map((one) => picture(one.id)));
  if (current !== face) return;
  const images = found.filter((one) => one.status === "fulfilled").map((one) => one.value);
  view.showStrip(images, found.slice(0, before.length).filter((one) => one.status === "fulfilled").length);
}

function showProgress() {
  const sorted = [...paces].sort((a, b) => a - b);
  view.showProgress({
    done: counts.answered + counts.unsure, total: session.total, unsure: counts.unsure, skipped: counts.skipped,
    seconds: sorted[Math.floor(sorted.length / 2)], waiting: outbox.size, aside: outbox.aside, trouble,
  });
}

const spoken = (answer) => (answer.status === "answered" ? Object.values(answer.said).flat().join(", ") : answer.status);

function choose(question, value, more) {
  if (!seen || busy) return;
  view.complain("");
  const several = question.several && (more || draft.several);
  let chosen = [value.name];
  if (several) {
    const before = draft.touched.has(question.name) ? draft.said[question.name] : [];
    chosen = before.includes(value.name) ? before.filter((name) => name !== value.name) : [...before, value.name];
    if (value.name === question.alone) chosen = chosen.slice(-1);
    else chosen = chosen.filter((name) => name !== question.alone);
  }
  draft.said = { ...draft.said, [question.name]: chosen };
  draft.touched.add(question.name);
  view.showDraft(draft);
  if (!several && !draft.several && session.questions.every((each) => draft.touched.has(each.name))) submit("answered");
}

function submit(status) {
  const missing = session.questions.filter((question) => !draft.said[question.name]?.length);
  if (status === "answered" && missing.length) {
    view.complain(`Not answered yet: ${missing[0].words}`);
    return;
  }
  const seconds = (performance.now() - since) / 1000;
  const said = Object.fromEntries(Object.entries(draft.said).filter(([, values]) => values.length));
  const ticket = [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, "0")).join("");
  const record = {
    ticket, face: current.id, status, said: status === "skipped" ? {} : said, note: view.note().value,
    seconds: Math.round(seconds * 1000) / 1000, replaces: current.answer?.ticket ?? null,
  };
  const replaced = current.answer?.status;
  if (replaced) counts[replaced] -= 1;
  counts[status] += 1;
  changes += 1;
  if (status !== "skipped" && seconds < BREAK) paces.push(seconds);
  if (paces.length > REMEMBERED) paces.shift();
  current.answer = record;
  behind.push(current);
  made.push({ ticket, status, replaced });
  let unkept = "";
  try {
    outbox.push(record);
  } catch (error) { // the browser's store is full or blocked
    unkept = `Stay on this page until all answers are saved: this browser cannot keep them (${error.message})`;
  }
  channel.postMessage(record.face);
  view.note().blur();
  view.complain(unkept);
  next();
}

function back() {
  if (!behind.length) return view.complain("There is no face before this one");
  if (current) ahead.unshift(current);
  show(behind.pop());
}

// Past a face: an answer that it has is left alone.
function skip() {
  if (!current.answer || current.answer.status === "skipped") return submit("skipped");
  behind.push(current);
  next();
}

async function undo() {
  if (!made.length) return view.complain("There is nothing to undo");
  if (outbox.size) return view.complain("Undo works once all answers are saved"); // waiting here could take for ever
  const last = made.pop();
  busy = true;
  try {
    const face = await api.undo(last.ticket);
    counts[last.status] -= 1;
    changes += 1;
    if (face.answer) counts[face.answer.status] += 1;
    for (const list of [behind, ahead]) {
      const place = list.findIndex((one) => one.id === face.id);
      if (place >= 0) list.splice(place, 1);
    }
    if (current && current.id !== face.id) ahead.unshift(current);
    await show(face);
    view.say(`Undone: face ${face.id}`);
  } catch (error) {
    if (error.status !== 404 && error.status !== 409) made.push(last); // it may work another time
    view.complain(error.status ? error.message : "Cannot reach the server; try undo again later");
  } finally {
    busy = false;
  }
}

function act(action) {
  if (busy || (current && !seen)) return;
  view.complain("");
  if (action === "undo") undo();
  else if (action === "back") back();
  else if (!current) view.complain("There is no face to answer");
  else if (action === "note") view.note().focus();
  else if (action === "skip") skip();
  else if (action === "several") {
    draft.several = !draft.several;
    view.showDraft(draft);
  } else submit(action === "unsure" ? "unsure" : "answered");
}

function onKey(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
  const key = event.key.toLowerCase();
  if (event.target === view.note()) {
    if (key === "escape" || key === "enter") view.note().blur();
    return;
  }
  if (event.target instanceof HTMLButtonElement && (key === "enter" || key === " ")) return; // presses that button
  if (event.repeat) return event.preventDefault(); // a key that is held answers once
  for (const question of session.questions) {
    const value = question.values.find((each) => each.key === key);
    if (value) {
      event.preventDefault();
      return choose(question, value, event.shiftKey);
    }
  }
  const action = Object.keys(session.actions).find((name) => session.actions[name] === key);
  if (action) {
    event.preventDefault();
    act(action);
  }
}

// What another window of the same annotator answered needs no answer here.
function elsewhere({ data: face }) {
  ahead = ahead.filter((one) => one.id !== face);
  if (current?.id === face && !draft.touched.size) next();
  else refill();
}

function told(error, record) {
  trouble = record === null;
  if (record && error) {
    const face = behind.find((one) => one.answer?.ticket === record.ticket);
    if (face) behind.splice(behind.indexOf(face), 1); // the other window's answer is not known here
    const place = made.findIndex((one) => one.ticket === record.ticket);
    if (place >= 0) { // as if it was never given
      const [{ status, replaced }] = made.splice(place, 1);
      counts[status] -= 1;
      if (replaced) counts[replaced] += 1;
    }
  }
  if (error?.status) view.complain(error.message); // else nobody replied, which the progress tells
  showProgress();
}

async function start() {
  session = await api.session();
  outbox = new Outbox(session.study, api.answer, told);
  view.build(session, choose, act);
  if (outbox.size) {
    await outbox.idle(); // what an earlier page had no time to send
    session = await api.session();
  }
  behind.push(...session.behind);
  for (const { answer } of behind) {
    made.push(answer);
    if (answer.status !== "skipped" && answer.seconds < BREAK) paces.push(answer.seconds);
  }
  channel = new BroadcastChannel(`ranfer:${session.study}`);
  channel.addEventListener("message", elsewhere);
  document.addEventListener("keydown", onKey);
  await next();
}

start().catch((error) => view.showWords(error.message));
