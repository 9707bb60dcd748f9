// Answers on their way. Each is kept in this browser until the server says that it is on its disk, so that a reload or a
// server that is gone loses nothing; a ticket makes sure that what is sent twice counts once.

import { Refusal } from "./api.js";

const PAUSE = 1000; // milliseconds between tries

export class Outbox {
  #prefix;
  #send;
  #told;
  #waiting = [];
  #running = null;

  // send(record) resolves once it is kept; told(refusal or null, record) is called after each, and while waiting.
  constructor(annotator, send, told) {
    this.#prefix = `ranfer-answer:${annotator}:`;
    this.#send = send;
    this.#told = told;
    const left = Object.keys(localStorage).filter((key) => key.startsWith(this.#prefix)).sort();
    this.#waiting = left.map((key) => [key, JSON.parse(localStorage.getItem(key))]);
    this.#pump();
  }

  get size() {
    return this.#waiting.length;
  }

  holds(face) {
    return this.#waiting.some(([, record]) => record.face === face);
  }

  push(record) {
    const key = `${this.#prefix}${String(Date.now()).padStart(15, "0")}:${record.ticket}`;
    localStorage.setItem(key, JSON.stringify(record));
    this.#waiting.push([key, record]);
    this.#pump();
  }

  // Resolves when everything is kept.
  idle() {
    return this.#running ?? Promise.resolve();
  }

  #pump() {
    this.#running ??= this.#work().finally(() => { this.#running = null; });
  }

  async #work() {
    while (this.#waiting.length) {
      const [key, record] = this.#waiting[0];
      let refusal = null;
      try {
        await this.#send(record);
      } catch (error) {
        if (!(error instanceof Refusal)) {
          this.#told(error, null);
          await new Promise((wake) => setTimeout(wake, PAUSE));
          continue;
        }
        refusal = error;
      }
      localStorage.removeItem(key);
      this.#waiting.shift();
      this.#told(refusal, record);
    }
  }
}
