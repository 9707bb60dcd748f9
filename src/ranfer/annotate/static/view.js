// The page as it is shown: elements are made once and changed in place, so that focus and screen readers stay where they are.

const find = (id) => document.getElementById(id);
const KEYS = { enter: "⏎", arrowright: "→", arrowleft: "←", escape: "esc" };
const WORDS = {
  accept: "Accept", unsure: "Unsure", skip: "Skip", several: "Several", back: "Back", undo: "Undo",
};
const THEME = "ranfer-theme";

function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

function button(words, key, attributes) {
  const chip = make("kbd", { "aria-hidden": "true" }, KEYS[key] ?? key);
  return make("button", { type: "button", "aria-keyshortcuts": key, ...attributes }, make("span", {}, words), chip);
}

function press(element, act) {
  element.addEventListener("click", (event) => {
    act(event);
    if (event.detail > 0) element.blur(); // clicked, not pressed by key: Enter shall not press it again
  });
}

// choose(question, value, event), act(action): what a click does.
export function build(session, choose, act) {
  document.title = `${session.annotator} · ranfer annotate`;
  find("annotator").textContent = session.annotator + (session.adjudicator ? " (adjudicator)" : "");
  find("data").textContent = session.data;
  for (const question of session.questions) {
    const choices = make("div", { class: "choices" });
    for (const value of question.values) {
      const element = button(value.words, value.key, { "data-question": question.name, "data-value": value.name });
      press(element, (event) => choose(question, value, event.shiftKey));
      choices.append(element);
    }
    const legend = make("legend", {}, question.words, make("small", {}, question.hint));
    find("questions").append(make("fieldset", {}, legend, choices));
  }
  for (const [action, words] of Object.entries(WORDS)) {
    if (action === "several" && !session.questions.some((question) => question.several)) continue;
    const element = button(words, session.actions[action], { "data-action": action });
    press(element, () => act(action));
    find("actions").append(element);
  }
  find("noting").querySelector("kbd").textContent = session.actions.note;
  find("note").setAttribute("aria-keyshortcuts", session.actions.note);
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const theme = () => localStorage.getItem(THEME) ?? (dark.matches ? "dark" : "light");
  const paint = () => { document.documentElement.dataset.theme = theme(); };
  dark.addEventListener("change", paint);
  paint();
  press(find("theme"), () => {
    localStorage.setItem(THEME, theme() === "dark" ? "light" : "dark");
    paint();
  });
}

// What is chosen so far; what nobody confirmed yet is dashed.
export function showDraft(draft) {
  for (const element of document.querySelectorAll("[data-value]")) {
    const { question, value } = element.dataset;
    element.setAttribute("aria-pressed", String(draft.said[question]?.includes(value) ?? false));
    element.classList.toggle("suggested", !draft.touched.has(question));
  }
  document.querySelector('[data-action="several"]')?.setAttribute("aria-pressed", String(draft.several));
}

export function showFace(face, image) {
  find("caption").textContent = face.id;
  image.alt = `Face ${face.id}`;
  find("face").replaceChildren(image);
  find("note").value = face.answer?.note ?? "";
  const rows = face.others.map((other) => make("tr", {},
    make("th", { scope: "row" }, other.annotator),
    make("td", {}, other.status === "answered" ? Object.values(other.said).map((s) => s.join(" + ")).join(", ") : other.status),
    make("td", {}, other.note)));
  find("others").hidden = rows.length === 0;
  find("others").tBodies[0].replaceChildren(...rows);
}

// Words where the face would be.
export function showWords(words, caption = "") {
  find("face").replaceChildren(make("p", {}, words));
  find("caption").textContent = caption;
  find("others").hidden = true;
}

// Small neighbours: images of faces before and after the one that is shown, with its own in between.
export function showStrip(images, current) {
  find("strip").replaceChildren(...images.map((image, place) => {
    const thumb = make("img", { src: image.src, alt: place === current ? "this face" : place < current ? "before" : "next" });
    return make("li", place === current ? { "aria-current": "true" } : {}, thumb);
  }));
}

export function showProgress({ done, total, unsure, skipped, seconds, waiting, aside, trouble }) {
  find("progress").max = total || 1;
  find("progress").value = done;
  const asides = [[unsure, "unsure"], [skipped, "skipped"]].filter(([n]) => n).map(([n, word]) => `, ${n} ${word}`);
  find("counts").textContent = `${done.toLocaleString("en")} of ${total.toLocaleString("en")}${asides.join("")}`;
  find("pace").textContent = seconds ? `${Math.round(60 / seconds)} a minute, ${span(seconds * (total - done))} left` : "";
  const told = [];
  if (waiting) told.push(trouble ? `offline: ${answers(waiting)} waiting to be sent` : `saving ${waiting}`);
  if (aside) told.push(`${answers(aside)} kept here: ${aside === 1 ? "its face is" : "their faces are"} not in the current list`);
  find("saved").textContent = told.join("; ") || "all saved";
  find("saved").toggleAttribute("data-waiting", aside > 0 || (trouble && waiting > 0));
}

const answers = (n) => `${n} ${n === 1 ? "answer" : "answers"}`;

function span(seconds) {
  if (seconds < 90) return `${Math.ceil(seconds)} s`;
  return seconds < 5400 ? `${Math.round(seconds / 60)} min` : `${(seconds / 3600).toFixed(1)} h`;
}

export const say = (words) => { find("status").textContent = words; };
export const complain = (words) => { find("message").textContent = words; };
export const note = () => find("note");
