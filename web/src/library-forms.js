// What can be changed of an episode: where it starts and stops, what is said of it, and whether it stays.
import { el, say, show } from "./dom.js";

const OUTCOMES = [["true", "Success"], ["false", "Failure"], ["null", "Unknown"]];
const said = (value) => ({ true: true, false: false, null: null, keep: "keep" })[value];

/** A question that must be answered: resolves to whether the answer was yes. */
export function ask(root, { title, text, yes }) {
  return new Promise((resolve) => {
    const no = el("button", { type: "button", value: "no" }, "Cancel");
    const go = el("button", { type: "button", class: "lib-grave", value: "yes" }, yes);
    const dialog = el("dialog", { class: "lib-ask", "aria-label": title }, el("h3", {}, title), el("p", {}, text), el("div", { class: "lib-buttons" }, no, go));
    const close = (answer) => () => {
      dialog.close();
      dialog.remove();
      resolve(answer);
    };
    no.addEventListener("click", close(false));
    go.addEventListener("click", close(true));
    dialog.addEventListener("cancel", close(false));
    dialog.addEventListener("keydown", (e) => e.stopPropagation());
    root.append(dialog);
    dialog.showModal();
    no.focus();
  });
}

/** A field with its label. */
function field(label, input) {
  return el("label", { class: "lib-field" }, el("span", {}, label), input);
}

function choice(...options) {
  return el("select", {}, ...options.map(([value, text]) => el("option", { value }, text)));
}

/** The form to trim: `onWindow(window|null)` moves the handles, `apply({start, stop, success})` does it. */
export class TrimForm {
  #steps = 1;

  constructor({ here, onWindow, apply }) {
    this.onWindow = onWindow;
    const number = (label) => {
      const input = el("input", { type: "number", min: 0, step: 1, inputmode: "numeric", required: true });
      input.addEventListener("input", () => this.#typed());
      return [input, field(label, input)];
    };
    const [start, startField] = number("First step that stays");
    const [stop, stopField] = number("Cut off from step");
    Object.assign(this, { start, stop });
    this.success = choice(["keep", "As noted"], ...OUTCOMES);
    this.told = el("p", { class: "lib-hint" });
    const small = (text, act) => el("button", { type: "button", class: "lib-small", on: { click: act } }, text);
    const go = el("button", { type: "submit", class: "lib-go" }, "Trim");
    this.root = el(
      "form",
      { class: "lib-form", hidden: true, "aria-label": "Trim" },
      startField, small("Start here", () => this.set(Math.min(here(), this.window[1] - 1), this.window[1])),
      stopField, small("Stop here", () => this.set(this.window[0], Math.max(here(), this.window[0] + 1))),
      field("Outcome afterwards", this.success), this.told,
      el("div", { class: "lib-buttons" }, small("Cancel", () => this.open(false)), go)
    );
    this.root.addEventListener("submit", (e) => {
      e.preventDefault();
      const [from, to] = this.window;
      apply({ start: from, stop: to, success: said(this.success.value) });
    });
  }

  get window() {
    return [Number(this.start.value), Number(this.stop.value)];
  }

  load(steps) {
    this.#steps = steps;
    this.start.max = steps - 1;
    this.stop.max = steps;
    this.success.value = "keep";
    this.set(0, steps);
    this.open(false);
  }

  set(start, stop) {
    this.start.value = Math.max(0, start);
    this.stop.value = Math.min(this.#steps, stop);
    this.#typed();
  }

  open(open) {
    show(this.root, open);
    this.onWindow(open ? this.window : null);
    if (open) this.start.focus();
  }

  #typed() {
    const [start, stop] = this.window;
    const fits = Number.isInteger(start) && Number.isInteger(stop) && 0 <= start && start < stop && stop <= this.#steps;
    this.stop.setCustomValidity(fits ? "" : `At least one of the ${this.#steps} steps must stay.`);
    const left = `${stop - start} of ${this.#steps} steps stay.`;
    say(this.told, !fits ? "At least one step must stay." : start > 0 ? `${left} Without its start it cannot be simulated again: there will be no scene.` : left);
    if (fits && !this.root.hidden) this.onWindow([start, stop]);
  }
}

/** The form to relabel: `apply(facts)` gets what was changed, and nothing else. */
export class LabelForm {
  #before = {};

  constructor({ apply }) {
    this.success = choice(...OUTCOMES);
    this.operator = el("input", { type: "text", maxlength: 100, autocomplete: "off", spellcheck: "false" });
    this.instruction = el("input", { type: "text", maxlength: 500, autocomplete: "off" });
    this.told = el("p", { class: "lib-hint", role: "status" });
    const cancel = el("button", { type: "button", class: "lib-small", on: { click: () => this.open(false) } }, "Cancel");
    this.root = el(
      "form",
      { class: "lib-form", hidden: true, "aria-label": "Relabel" },
      field("Outcome", this.success), field("Operator", this.operator), field("Instruction", this.instruction), this.told,
      el("div", { class: "lib-buttons" }, cancel, el("button", { type: "submit", class: "lib-go" }, "Save"))
    );
    this.root.addEventListener("submit", (e) => {
      e.preventDefault();
      const changed = Object.entries(this.#now()).filter(([name, value]) => value !== this.#before[name]);
      if (changed.length) apply(Object.fromEntries(changed));
      else say(this.told, "Nothing was changed.");
    });
  }

  load(episode) {
    this.success.value = String(episode.success);
    this.operator.value = episode.operator;
    this.instruction.value = episode.instruction;
    this.#before = this.#now();
    say(this.told, "");
    this.open(false);
  }

  open(open) {
    show(this.root, open);
    if (open) this.success.focus();
  }

  #now() {
    return { success: said(this.success.value), operator: this.operator.value.trim(), instruction: this.instruction.value.trim() };
  }
}
