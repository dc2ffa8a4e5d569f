// Small helpers for building the page. Text from outside is only ever set as text, never parsed as markup.

/** A new element with attributes and children; `on` holds its listeners. Strings become text nodes. */
export function el(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "on") for (const [kind, act] of Object.entries(value)) node.addEventListener(kind, act);
    else if (value === true) node.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) node.setAttribute(name, value);
  }
  node.append(...children);
  return node;
}

/** Sets an element's text where it differs: a live region speaks, and a selection is lost, only for news. */
export function say(node, text) {
  const words = String(text ?? "");
  if (node.textContent !== words) node.textContent = words;
}

/** Shows or hides an element, moving nothing where that is already so. */
export function show(node, visible) {
  if (node.hidden === Boolean(visible)) node.hidden = !visible;
}

/** A finite number, or null for anything else that a message may hold. */
export function number(value) {
  return typeof value === "number" && Number.isFinite(value) ? value : null;
}

/** Text in at most `most` characters, or "" for what is no text. */
export function words(value, most = 300) {
  const text = typeof value === "string" ? value : typeof value === "number" ? String(value) : "";
  return text.length > most ? `${text.slice(0, most - 1)}…` : text;
}

/** An object, or null: a field of the state that is missing or of another kind must not break the page. */
export function record(value) {
  return value !== null && typeof value === "object" && !Array.isArray(value) ? value : null;
}

/** An array, empty where the field is missing. */
export function list(value) {
  return Array.isArray(value) ? value : [];
}

/** Whether keys typed at this element are text. */
export function typing(node) {
  if (!(node instanceof HTMLElement)) return false;
  if (node.isContentEditable || node instanceof HTMLTextAreaElement || node instanceof HTMLSelectElement) return true;
  return node instanceof HTMLInputElement && !["checkbox", "radio", "range", "button", "submit"].includes(node.type);
}
