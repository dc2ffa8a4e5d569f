// The panel beside the scene: what happens now, the one next action, and the facts of the session.
import { el, list, number, record, say, show, words } from "./dom.js";
import { keyOf, named } from "./keys.js";
import { MODES, plan, seen } from "./phases.js";

const BUSY = ["countdown", "ready", "running", "paused", "saving", "asking"];

/** What happens now and what to do next: a title, a sentence, and buttons of which one is the obvious one. */
export class Now {
  constructor(give) {
    this.give = give;
    this.driving = new Set();
    this.title = el("h2");
    this.hint = el("p", { class: "hint" });
    this.first = el("div", { class: "first" }); // always at the same place
    this.marks = el("div", { class: "marks", role: "group", "aria-label": "Mark the episode", hidden: true });
    this.buttons = el("div", { class: "actions" });
    this.message = el("p", { class: "message", role: "status", hidden: true }, el("i", { "aria-hidden": "true" }), el("span"));
    this.root = el("section", { class: "now" }, el("div", { role: "status" }, this.title), this.hint, this.first, this.marks, this.buttons, this.message);
    this.drawn = "";
  }

  update(state, controller) {
    const now = plan(state);
    this.actions = controller ? now.actions : []; // who only watches is offered nothing that he cannot do
    say(this.title, controller || !state ? now.title : seen(state));
    say(this.hint, controller ? now.hint : "");
    this.root.dataset.tone = now.tone ?? "calm";
    this.draw();
    const message = record(state?.message);
    const text = words(message?.text);
    show(this.message, Boolean(text) && state.phase !== "error");
    this.message.dataset.level = ["warn", "error"].includes(message?.level) ? message.level : "info";
    this.message.setAttribute("role", message?.level === "error" ? "alert" : "status");
    say(this.message.lastChild, text);
  }

  /** Buttons are made anew only where they are others, so that focus and presses are not lost. */
  draw() {
    const print = JSON.stringify([this.actions.map((one) => [one.what, one.label, one.pressed, one.primary]), [...this.driving]]);
    if (print === this.drawn) return;
    this.drawn = print;
    const focused = this.root.contains(document.activeElement) ? document.activeElement.dataset?.what : null;
    const put = (box, those) => {
      box.replaceChildren(...this.actions.filter(those).map((one) => this.button(one)));
      show(box, box.children.length > 0);
    };
    put(this.first, (one) => one.primary);
    put(this.marks, (one) => one.mark);
    put(this.buttons, (one) => !one.primary && !one.mark);
    if (focused) (this.root.querySelector(`[data-what="${focused}"]`) ?? this.root.querySelector("button"))?.focus({ preventScroll: true });
  }

  button(one) {
    const key = one.key && keyOf(one.key, this.driving);
    const button = el("button", {
      type: "button", class: one.primary ? "primary" : null, "data-what": one.what,
      "aria-pressed": one.pressed === undefined ? null : String(one.pressed), "aria-keyshortcuts": key ? shortcut(key) : null,
      on: { click: () => this.give(one.what, {}, one.then) },
    }, one.mark ? el("i", { class: one.what, "aria-hidden": "true" }) : "", one.label);
    if (key) button.append(el("kbd", { "aria-hidden": "true" }, named(key)));
    return button;
  }

  /** The action that the page's key of this name gives now, or null. */
  byKey(name) {
    return this.actions?.find((one) => one.key === name) ?? null;
  }
}

/** A key's code as the words of aria-keyshortcuts. */
function shortcut(code) {
  return code.replace(/^(Key|Digit)/, "");
}

/** How far the session is: episodes saved and discarded, steps and seconds of this one. */
export class Facts {
  constructor() {
    this.cells = new Map();
    this.root = el("dl", { class: "facts" });
    for (const name of ["Saved", "Discarded", "Step", "Time"]) {
      const value = el("dd", {}, "–");
      this.cells.set(name, value);
      this.root.append(el("div", {}, el("dt", {}, name), value));
    }
  }

  update(state) {
    const whole = (value) => (number(value) === null ? "–" : String(Math.round(value)));
    const seconds = number(state?.seconds);
    say(this.cells.get("Saved"), whole(state?.saved));
    say(this.cells.get("Discarded"), whole(state?.discarded));
    say(this.cells.get("Step"), whole(state?.step));
    say(this.cells.get("Time"), seconds === null ? "–" : `${seconds.toFixed(1)} s`);
  }
}

/** Mode, speed, operator and the task in words. Only what the person set is sent; the state says what holds. */
export class Settings {
  constructor(give) {
    this.give = give;
    this.modes = el("fieldset", { class: "modes" }, el("legend", {}, "Mode"));
    this.about = el("p", { class: "about", id: "mode-about" });
    this.speed = el("input", { type: "range", min: "0.05", max: "1", step: "0.05", id: "speed" });
    this.percent = el("output", { for: "speed" });
    this.operator = el("input", { type: "text", id: "operator", maxlength: "100", autocomplete: "off", spellcheck: "false" });
    this.instruction = el("textarea", { id: "instruction", maxlength: "500", rows: "2" });
    this.root = el("section", { class: "settings", "aria-label": "Settings" },
      this.modes, this.about,
      el("div", { class: "field speed" }, el("label", { for: "speed" }, "Speed"), this.speed, this.percent),
      el("div", { class: "field" }, el("label", { for: "operator" }, "Operator"), this.operator),
      el("div", { class: "field" }, el("label", { for: "instruction" }, "Task in words"), this.instruction));
    this.speed.addEventListener("input", () => { this.touched = performance.now(); this.pace(+this.speed.value); });
    this.speed.addEventListener("change", () => this.give("speed", { value: +this.speed.value }));
    this.written(this.operator, () => this.give("operator", { name: this.operator.value.trim() }));
    this.written(this.instruction, () => this.give("instruction", { text: this.instruction.value.trim() }));
    this.names = "";
  }

  /** Sends a field when its writer pauses or leaves it; an empty one is not sent, for it would say nothing. */
  written(field, send) {
    let clock;
    const now = () => {
      clearTimeout(clock);
      if (!field.value.trim() || field.value === field.known) return;
      field.known = field.value;
      send();
    };
    field.addEventListener("input", () => { clearTimeout(clock); clock = setTimeout(now, 500); });
    field.addEventListener("change", now);
    field.addEventListener("keydown", (event) => { if (event.key === "Enter" && !event.isComposing) { event.preventDefault(); field.blur(); } });
  }

  pace(value) {
    say(this.percent, `${Math.round(value * 100)} %`);
    this.speed.setAttribute("aria-valuetext", `${Math.round(value * 100)} percent`);
  }

  /** Changes the speed by so much, as by a key. */
  step(change) {
    const value = Math.min(1, Math.max(0.05, Math.round((+this.speed.value + change) * 20) / 20));
    this.speed.value = String(value);
    this.touched = performance.now();
    this.pace(value);
    this.give("speed", { value });
  }

  /** The switch between modes, where there is more than one. */
  offer(modes) {
    const names = list(modes).filter((name) => typeof name === "string" && MODES[name]);
    if (names.join() === this.names) return;
    this.names = names.join();
    this.radios = names.map((name) => el("input", { type: "radio", name: "mode", value: name, on: { change: () => this.give("mode", { name }) } }));
    this.modes.replaceChildren(el("legend", {}, "Mode"), ...this.radios.map((radio) => el("label", {}, radio, el("span", {}, MODES[radio.value][0]))));
    for (const part of [this.modes, this.about]) show(part, names.length > 1);
  }

  update(state, controller) {
    const still = controller && !BUSY.includes(state?.phase);
    for (const radio of this.radios ?? []) {
      radio.disabled = !still || state?.phase === "review";
      if (radio.checked !== (radio.value === state?.mode)) radio.checked = radio.value === state?.mode;
    }
    say(this.about, MODES[state?.mode]?.[1] ?? "");
    const speed = number(state?.speed);
    this.speed.disabled = !controller;
    if (speed !== null && performance.now() - (this.touched ?? -1e9) > 800) { this.speed.value = String(speed); this.pace(speed); }
    for (const [field, value] of [[this.operator, state?.operator], [this.instruction, state?.instruction]]) {
      field.disabled = !still;
      if (document.activeElement === field || typeof value !== "string") continue;
      field.known = value;
      if (field.value !== value) field.value = value;
    }
  }
}

/** The newest episodes, with their marks in words and shapes. */
export class Last {
  constructor() {
    this.list = el("ol");
    this.root = el("section", { class: "last" }, el("h3", {}, "Last episodes"), this.list);
    this.drawn = "";
  }

  update(state) {
    const episodes = list(state?.last).filter(record).slice(-5).reverse();
    const print = JSON.stringify(episodes);
    if (print === this.drawn) return;
    this.drawn = print;
    show(this.root, episodes.length > 0);
    this.list.replaceChildren(...episodes.map((one) => this.row(one)));
  }

  row(one) {
    const mark = one.mark ?? one.success;
    const kind = mark === true ? "success" : mark === false ? "failure" : "unmarked";
    const seconds = number(one.seconds), steps = number(one.steps);
    return el("li", {},
      el("b", {}, `${number(one.index) === null ? "–" : one.index}`),
      el("span", { class: `mark ${kind}` }, el("i", { class: kind, "aria-hidden": "true" }), kind === "unmarked" ? "No mark" : kind === "success" ? "Success" : "Failure"),
      el("span", { class: "much" }, [steps === null ? "" : `${steps} steps`, seconds === null ? "" : `${seconds.toFixed(1)} s`].filter(Boolean).join(", ")),
      el("span", { class: "who" }, words(one.operator, 60)));
  }
}
