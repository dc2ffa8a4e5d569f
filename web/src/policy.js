// The policy's side of the panel: who drives, its doubt, its questions, its training and its evaluation.
import { el, list, number, record, say, show, words } from "./dom.js";

const digits = (value) => (value === null ? "–" : Math.abs(value) >= 100 ? value.toFixed(0) : value.toPrecision(2));
const share = (value) => `${Math.round(value * 100)}\u00a0%`;

/** A bar from 0 to 1 with a line on it, for sighted and others. */
class Bar {
  constructor(label, kind = "meter") {
    this.fill = el("i");
    this.line = el("b", { hidden: true });
    this.root = el("div", { class: "bar-meter", role: kind, "aria-label": label, "aria-valuemin": "0", "aria-valuemax": "1" }, this.fill, this.line);
  }

  set(value, { from = 0, line = null, text = "" } = {}) {
    const clip = (x) => Math.min(1, Math.max(0, x));
    this.fill.style.left = `${100 * clip(from)}%`;
    this.fill.style.width = `${100 * (clip(value) - clip(from))}%`;
    show(this.line, line !== null);
    if (line !== null) this.line.style.left = `${100 * clip(line)}%`;
    this.root.setAttribute("aria-valuenow", clip(value).toFixed(2));
    this.root.setAttribute("aria-valuetext", text);
  }
}

/** How unsure the policy is, against the line above which it stops and asks. */
export class Doubt {
  constructor(give) {
    this.bar = new Bar("The policy's doubt");
    this.text = el("p", { class: "reading" });
    this.guard = el("input", { type: "checkbox", role: "switch", on: { change: () => give("guard", { on: this.guard.checked }) } });
    this.switch = el("label", { class: "switch" }, this.guard, el("span", {}, "Guard: the robot holds still where doubt is above its limit"));
    this.root = el("section", { class: "doubt", hidden: true }, el("h3", {}, "Doubt"), this.bar.root, this.text, this.switch);
    this.most = 0;
  }

  update(state, controller) {
    const doubt = record(state?.doubt);
    const value = number(doubt?.value), threshold = number(doubt?.threshold);
    show(this.root, doubt !== null);
    if (!doubt) return void (this.most = 0);
    this.most = threshold ? 2 * threshold : Math.max(this.most, value ?? 0, 1e-9);
    const above = threshold !== null && value !== null && value > threshold;
    const text = value === null ? "not known here" : threshold === null ? `${digits(value)}; no limit is set` : `${digits(value)}, ${above ? "above" : "below"} its limit of ${digits(threshold)}`;
    this.root.classList.toggle("above", above);
    this.bar.set((value ?? 0) / this.most, { line: threshold === null ? null : threshold / this.most, text });
    say(this.text, text);
    show(this.switch, typeof state.guard === "boolean" && threshold !== null);
    this.guard.disabled = !controller;
    if (typeof state.guard === "boolean") this.guard.checked = state.guard;
  }
}

/** In label mode: what the policy would do at this state beside what the operator holds. */
export class Question {
  constructor(give) {
    this.table = el("div", { class: "acts" });
    this.every = el("input", { type: "number", min: "1", max: "1000", step: "1", inputmode: "numeric", id: "every" });
    this.every.addEventListener("change", () => this.every.checkValidity() && this.every.value && give("every", { k: +this.every.value }));
    this.asking = el("div", { class: "field every" }, el("label", { for: "every" }, "Ask at every so many steps"), this.every);
    this.root = el("section", { class: "question", hidden: true }, el("h3", {}, "The policy would"), this.table, this.asking);
  }

  update(state, hello, controller) {
    const question = record(state?.question);
    show(this.root, state?.mode === "label");
    show(this.table, question !== null);
    say(this.root.firstChild, question ? "The policy would" : "Questions");
    show(this.asking, number(state?.every) !== null);
    this.every.disabled = !controller;
    if (document.activeElement !== this.every && number(state?.every) !== null) this.every.value = String(state.every);
    if (question) this.draw(question, record(hello?.action) ?? {});
  }

  draw(question, action) {
    const proposed = list(question.proposed).slice(0, 24), held = list(question.held);
    if (this.rows?.length !== proposed.length) {
      this.rows = proposed.map((_, i) => {
        const name = words(list(action.labels)[i], 24) || `action ${i + 1}`;
        return { name, proposed: new Bar(`The policy: ${name}`), held: new Bar(`You: ${name}`) };
      });
      this.table.replaceChildren(...this.rows.map((row) => el("div", {}, el("span", {}, row.name), row.proposed.root, row.held.root)),
        el("p", { class: "reading keyed" }, el("i", { class: "policy" }), "policy", el("i", { class: "you" }), "what you hold"));
    }
    proposed.forEach((value, i) => {
      const low = number(list(action.low)[i]) ?? -1, high = number(list(action.high)[i]) ?? 1;
      const at = (x) => ((number(x) ?? 0) - low) / (high - low || 1);
      const put = (bar, x) => { const [a, b] = [at(0), at(x)]; bar.set(Math.max(a, b), { from: Math.min(a, b), text: digits(number(x)) }); };
      put(this.rows[i].proposed, value);
      show(this.rows[i].held.root, held.length > 0);
      if (held.length) put(this.rows[i].held, held[i]);
    });
  }
}

/** In shadow mode: how far the policy's silent action is from the operator's. */
export class Shadow {
  constructor() {
    this.bar = new Bar("Disagreement between you and the policy");
    this.text = el("p", { class: "reading" });
    this.root = el("section", { class: "shadow", hidden: true }, el("h3", {}, "Disagreement"), this.bar.root, this.text);
    this.most = 0;
  }

  update(state) {
    const value = number(state?.disagreement);
    show(this.root, state?.mode === "shadow");
    if (value === null) return void (this.bar.set(0), say(this.text, "Shown while you drive."));
    this.most = Math.max(this.most, value, 1e-9);
    const text = `${digits(value)} (most so far ${digits(this.most)})`;
    this.bar.set(value / this.most, { text });
    say(this.text, text);
  }
}

/** Training on what was recorded, in the background. */
export class Training {
  constructor(give) {
    this.bar = new Bar("Progress of the training", "progressbar");
    this.text = el("p", { class: "reading", role: "status" });
    this.begin = el("button", { type: "button", on: { click: () => give("train") } });
    this.cancel = el("button", { type: "button", on: { click: () => give("cancel") } }, "Cancel the training");
    this.root = el("section", { class: "training", hidden: true }, el("h3", {}, "Training"), this.bar.root, this.text, this.begin, this.cancel);
  }

  update(state, controller) {
    const training = record(state?.training), saved = (number(state?.saved) ?? 0) > 0;
    show(this.root, Boolean(training || saved || state?.pilot));
    const step = number(training?.step) ?? 0, steps = number(training?.steps) ?? 0, round = number(training?.round);
    const runs = training?.phase === "training";
    for (const part of [this.bar.root, this.cancel]) show(part, runs);
    show(this.begin, !runs);
    say(this.begin, state?.pilot ? "Train on the corrections now" : "Train a policy on them now");
    this.begin.disabled = this.cancel.disabled = !controller;
    this.bar.set(steps ? step / steps : 0, { text: `step ${step} of ${steps}` });
    say(this.text, training ? told(training, runs, step, steps, round) : "It runs in the background; the new policy drives when it is done.");
  }
}

function told(training, runs, step, steps, round) {
  const name = round === null ? "Training" : `Round ${round}`;
  const message = words(training.message);
  if (runs) return `${name}: ${steps ? `step ${step} of ${steps}` : "beginning"}${message ? `, ${message}` : ""}`;
  const ended = { done: "is done", failed: "failed", interrupted: "was interrupted", cancelled: "was cancelled" }[training.phase] ?? "";
  return `${name} ${ended}${message ? `: ${message}` : ""}`;
}

/** Live evaluation: n episodes of the policy with the interval of its success rate as it narrows. */
export class Evaluation {
  constructor(give) {
    this.mode = null;
    this.bar = new Bar("Success rate, 95 % interval");
    this.scale = el("p", { class: "scale", "aria-hidden": "true" }, el("span", {}, "0 %"), el("span", {}, "50 %"), el("span", {}, "100 %"));
    this.text = el("p", { class: "reading", role: "status" });
    this.root = el("section", { class: "evaluation", hidden: true }, el("h3", {}, "Success rate"), this.bar.root, this.scale, this.text);
    this.n = el("input", { type: "number", min: "1", max: "10000", step: "1", value: "20", inputmode: "numeric", id: "rollouts", required: true });
    this.n.addEventListener("keydown", (event) => event.key === "Enter" && this.begin(give));
    this.go = el("button", { type: "button", on: { click: () => this.begin(give) } }, "Evaluate");
    const ask = el("div", { class: "field ask" }, el("label", { for: "rollouts" }, "Episodes"), this.n, this.go);
    this.form = el("section", { class: "evaluate", hidden: true }, el("h3", {}, "Evaluation"), ask);
  }

  begin(give) {
    if (this.go.disabled || !this.n.reportValidity()) return;
    if (this.mode !== "watch") give("mode", { name: "watch" }); // an evaluation is watched, not driven
    give("evaluate", { n: +this.n.value });
  }

  update(state, controller) {
    const found = record(state?.evaluation);
    this.mode = state?.mode;
    show(this.root, found !== null && this.mode === "watch");
    show(this.form, Boolean(state?.pilot) && list(state.modes).includes("watch"));
    this.n.disabled = !controller;
    this.go.disabled = !controller || state?.phase !== "idle";
    if (!found) return;
    const n = number(found.n), done = number(found.done) ?? 0, won = number(found.successes) ?? 0;
    const low = number(found.low), high = number(found.high);
    const known = done > 0 && low !== null && high !== null;
    const left = found.running === true && n !== null ? `, ${n - done} to go` : "";
    const text = known ? `${won} of ${done} succeeded: ${share(won / done)}, 95 % interval ${share(low)} to ${share(high)}${left}` : `${done} of ${n ?? "?"} done`;
    this.bar.set(known ? high : 0, { from: known ? low : 0, line: known ? won / done : null, text });
    say(this.text, text);
  }
}
