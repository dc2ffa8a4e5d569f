// The dialog that says what each key does: the robot's from the server's bindings, the page's from its own list.
import { el, list, words } from "./dom.js";
import { COMMANDS, keyOf, named } from "./keys.js";

const DEVICES = { keyboard: "Keyboard: drive", gamepad: "Gamepad", drag: "Mouse", touch: "Touch" };
const OWN = {
  primary: "The next step: start, end, go on, keep, answer", discard: "Discard the episode", again: "Discard it and record the same situation again",
  success: "Mark as success", failure: "Mark as failure", take: "Take over from the policy", hand: "Hand back to the policy",
  pause: "Pause, or go on", halt: "Stop the robot: pause at once", skip: "Leave a question unanswered", slower: "Slower", faster: "Faster",
};

/** The help dialog. It opens with ? and F1 and closes with Escape. */
export class Help {
  constructor(dialog, changed) {
    this.dialog = dialog;
    this.bindings = [];
    this.driving = new Set();
    dialog.addEventListener("close", () => changed(false));
    dialog.addEventListener("click", (event) => event.target === dialog && dialog.close());
    this.changed = changed;
    addEventListener("keydown", (event) => {
      const text = event.target instanceof HTMLInputElement || event.target instanceof HTMLTextAreaElement;
      if (event.key !== "F1" && (event.key !== "?" || text)) return;
      event.preventDefault();
      if (!event.repeat) this.toggle();
    });
  }

  /** What the robot's keys are. */
  bind(bindings, driving) {
    this.bindings = list(bindings);
    this.driving = driving;
  }

  toggle() {
    if (this.dialog.open) return void this.dialog.close();
    this.draw();
    this.dialog.showModal();
    this.changed(true);
  }

  draw() {
    const close = el("button", { type: "button", class: "plain", on: { click: () => this.dialog.close() } }, "Close", el("kbd", { "aria-hidden": "true" }, "Esc"));
    const fingers = matchMedia("(pointer: coarse)").matches;
    const devices = fingers ? Object.keys(DEVICES).reverse() : Object.keys(DEVICES);
    const groups = devices.map((device) => this.group(device)).filter(Boolean);
    const own = [...new Set(Object.values(COMMANDS))].map((name) => [keyOf(name, this.driving), OWN[name]]).filter(([key]) => key);
    const rows = own.map(([key, label]) => row([named(key)], label));
    rows.push(row(["?", "F1"], "This help"), row(["Shift", "arrows"], "Turn the picture; Shift with + and − comes closer and goes away"));
    this.dialog.replaceChildren(
      el("header", {}, el("h2", { id: "help-title" }, "What each key does"), close),
      el("div", { class: "columns" }, ...groups, el("section", {}, el("h3", {}, "Keyboard: the session"), el("dl", {}, ...rows))),
      el("p", { class: "hint" }, "Keys are named as on a keyboard of the United States' layout; what counts is where they are. The robot moves only while you hold something: it stops when you let go, when you leave this window, and when the link is lost."));
  }

  group(device) {
    const bindings = this.bindings.filter((one) => (one?.device ?? "keyboard") === device);
    if (!bindings.length) return null;
    const name = device === "keyboard" ? named : (key) => words(key, 30);
    return el("section", {}, el("h3", {}, DEVICES[device]), el("dl", {}, ...bindings.map((one) => row((device === "keyboard" ? list(one.keys) : list(one.names)).map((key) => name(String(key))), words(one.label, 120)))));
  }
}

function row(keys, label) {
  return el("div", {}, el("dt", {}, ...keys.map((key) => el("kbd", {}, key))), el("dd", {}, label));
}
