// Sticks and buttons on the screen, for fingers. Each follows the finger that began on it, so all work at once.
import { el, list, number, record, show, words } from "./dom.js";

const REACH = 46; // px from the middle to full deflection
const round = (value) => Math.round(value * 100) / 100 + 0; // + 0: no negative zero

class Stick {
  constructor(label, change) {
    this.change = change;
    this.sideways = this.upright = true;
    this.value = [0, 0];
    this.knob = el("i");
    this.root = el("div", { class: "stick", role: "group", "aria-label": label }, this.knob, el("span", {}, label));
    this.root.addEventListener("pointerdown", (event) => this.begin(event));
    this.root.addEventListener("pointermove", (event) => event.pointerId === this.finger && this.follow(event));
    for (const kind of ["pointerup", "pointercancel", "lostpointercapture"]) {
      this.root.addEventListener(kind, (event) => event.pointerId === this.finger && this.rest());
    }
  }

  /** Which ways it goes: one with neither is not there. */
  ways(sideways, upright) {
    this.sideways = sideways;
    this.upright = upright;
    this.root.classList.toggle("sideways", !upright);
    this.root.classList.toggle("upright", !sideways);
    show(this.root, sideways || upright);
  }

  begin(event) {
    if (this.finger !== undefined) return;
    event.preventDefault();
    this.finger = event.pointerId;
    this.root.setPointerCapture(event.pointerId);
    this.follow(event);
  }

  follow(event) {
    const box = this.root.getBoundingClientRect();
    const x = this.sideways ? (event.clientX - box.left - box.width / 2) / REACH : 0;
    const y = this.upright ? -(event.clientY - box.top - box.height / 2) / REACH : 0;
    const far = Math.max(1, Math.hypot(x, y));
    this.place(x / far, y / far);
  }

  place(x, y) {
    this.value = [round(x), round(y)];
    this.knob.style.transform = `translate(${x * REACH}px, ${-y * REACH}px)`;
    this.change();
  }

  rest() {
    this.finger = undefined;
    if (this.value.some(Boolean)) this.place(0, 0);
  }
}

/** A button that is something only while a finger is on it: `turn(true)`, then `turn(false)`. */
function holdable(label, turn) {
  const button = el("button", { type: "button" }, label);
  const set = (down) => { if (button.classList.contains("down") !== down) { button.classList.toggle("down", down); turn(down); } };
  button.addEventListener("pointerdown", (event) => { event.preventDefault(); button.setPointerCapture(event.pointerId); set(true); });
  for (const kind of ["pointerup", "pointercancel", "lostpointercapture"]) button.addEventListener(kind, () => set(false));
  button.addEventListener("contextmenu", (event) => event.preventDefault());
  button.release = () => set(false);
  return button;
}

/**
 * What fingers drive with, as the bindings have it: two sticks, fingers to open and close, and a button for each
 * key that nothing else on the screen stands for. `change([right, up, raise, grip])`, `press(code, down)`.
 */
export class Sticks {
  constructor(change, press) {
    const tell = () => change(this.values());
    this.press = press;
    this.grip = 0;
    this.level = new Stick("Move", tell);
    this.height = new Stick("Raise", tell);
    const grip = (value) => (down) => { this.grip = down ? value : 0; tell(); };
    this.grips = el("div", { class: "grips" }, holdable("Open", grip(1)), holdable("Close", grip(-1)));
    this.holds = el("div", { class: "holds" });
    this.root = el("div", { class: "sticks", "aria-label": "Touch controls", role: "group" }, this.level.root, this.grips, this.holds, this.height.root);
  }

  /** Shows what this task's bindings have. */
  bind(bindings) {
    const all = list(bindings).filter(record);
    const touched = all.filter((one) => one.device === "touch");
    const has = (at) => touched.some((one) => list(one.keys).includes(`Touch${at}`));
    this.level.ways(has(0), has(1));
    this.height.ways(false, has(2));
    show(this.grips, has(3));
    const dims = new Set(touched.map((one) => one.dim));
    const rest = all.filter((one) => (one.device ?? "keyboard") === "keyboard" && typeof list(one.keys)[0] === "string" && !(number(one.dim) !== null && dims.has(one.dim)));
    this.holds.replaceChildren(...rest.map((one) => holdable(words(one.label, 30), (down) => this.press(one.keys[0], down))));
    show(this.holds, rest.length > 0);
  }

  /** What the fingers say, each in [-1, 1]: right, up, raise, and the grip (1 opens, -1 closes). */
  values() {
    return [...this.level.value, this.height.value[1], this.grip];
  }

  /** Lets go, as when focus is lost. */
  release() {
    for (const button of this.root.querySelectorAll("button")) button.release();
    this.level.rest();
    this.height.rest();
  }
}
