// Answers on their way. Each is kept in this browser until the server says that it is on its disk, so that a reload or a
// server that is gone loses nothing; a ticket makes sure that what is sent twice counts once.

const PAUSE = 1000; // milliseconds between tries
const REFUSED = [409, 422]; // another answer stays, or this one makes no sense: it will never be taken
const NOT_ASKED = 404; // a face of another list; it is kept for a page that comes when that is asked again

export class Outbox {
  #prefix;
  #send;
  #told;
  #waiting = [];
  #running = null;
  aside = 0; // how many are kept for another page

  // `owner` is a person in a study. send(record) resolves once it is kept; told(error or null, record) is called when
  // one leaves, and told(error, null) while waiting.
  constructor(owner, send, told) {
    this.#prefix = `ranfer-answer:${owner}:`;
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

  // Sends it in any case; throws where this browser cannot keep it meanwhile.
  push(record) {
    const key = `${this.#prefix}${String(Date.now()).padStart(15, "0")}:${record.ticket}`;
    this.#waiting.push([key, record]);
    try {
      localStorage.setItem(key, JSON.stringify(record));
    } finally {
      this.#pump();
    }
  }

  // Resolves when nothing waits.
  idle() {
    return this.#running ?? Promise.resolve();
  }

  #pump() {
    this.#running ??= this.#work().finally(() => { this.#running = null; });
  }

  async #work() {
    while (this.#waiting.length) {
      const [key, record] = this.#waiting[0];
      const error = await this.#send(record).then(() => null, (reason) => reason);
      if (error?.status === NOT_ASKED) this.aside += 1;
      else if (!error || REFUSED.includes(error.status)) localStorage.removeItem(key);
      else {
        this.#told(error, null);
        await new Promise((wake) => setTimeout(wake, PAUSE));
        continue;
      }
      this.#waiting.shift();
      this.#told(error, record);
    }
  }
}
