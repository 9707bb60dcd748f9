// What the server is asked. The token comes in the link's fragment, which is never sent, and stays in this window.

const KEPT = "ranfer-token";
const given = new URLSearchParams(location.hash.slice(1)).get("token");
if (given) {
  sessionStorage.setItem(KEPT, given);
  history.replaceState(null, "", location.pathname); // out of sight, and out of bookmarks
}
const token = sessionStorage.getItem(KEPT) ?? "";

async function ask(path, options = {}) {
  const response = await fetch(path, {
    ...options,
    headers: { Authorization: `Bearer ${token}`, "Content-Type": "application/json" },
  });
  if (response.ok) return response;
  const told = await response.json().catch(() => ({}));
  const error = new Error(told.error ?? `the server replied with status ${response.status}`);
  if (told.error) error.status = response.status; // the annotator itself says so, and nothing that stands between
  throw error;
}

const json = async (...words) => (await ask(...words)).json();

export const session = () => json("/api/session");
export const faces = (n) => json(`/api/faces?n=${n}`);
export const answer = (record) => json("/api/answers", { method: "POST", body: JSON.stringify(record) });
export const undo = (ticket) => json(`/api/answers/${ticket}`, { method: "DELETE" });

// A picture that is loaded and decoded, ready to be shown at once.
export async function picture(face) {
  const response = await ask(`/api/image?face=${encodeURIComponent(face)}`);
  const image = new Image();
  image.src = URL.createObjectURL(await response.blob());
  image.draggable = false;
  await image.decode();
  return image;
}
