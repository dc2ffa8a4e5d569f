// Plays an episode: a clock over its steps, with its buttons, speed and keys.
import { el, say } from "./dom.js";
import { seconds } from "./library-words.js";

const SPEEDS = [0.1, 0.25, 0.5, 1, 2, 4];
const SLOWEST = 10; // steps a second where nobody says how fast it was
const SIGNS = {
  start: "M3 3h2v10H3zM13 3v10L6 8z", back: "M11 3v10L4 8z", play: "M4 3l9 5-9 5z",
  pause: "M4 3h3v10H4zM9 3h3v10H9z", on: "M5 3v10l7-5z", end: "M11 3h2v10h-2zM3 3v10l7-5z",
};

/** Transport: `onStep(step, playing)` hears of every step, whole or between two while it plays. */
export class Player {
  #steps = 1;
  #rate = SLOWEST;
  #step = 0;
  #last = 0;
  #frame = 0;
  #timed = false;

  constructor(onStep) {
    this.onStep = onStep;
    const button = (label, sign, act) => el("button", { type: "button", class: sign === "start" || sign === "end" ? "lib-icon lib-far" : "lib-icon", "aria-label": label, title: label, on: { click: act } }, drawn(SIGNS[sign]));
    this.play = button("Play", "play", () => this.toggle());
    this.speed = el("select", { "aria-label": "Speed" }, ...SPEEDS.map((s) => el("option", { value: s, selected: s === 1 }, `${s}×`)));
    this.scrub = el("input", { type: "range", class: "lib-scrub", min: 0, step: 1, value: 0, "aria-label": "Step" });
    this.scrub.addEventListener("input", () => this.to(Number(this.scrub.value)));
    this.where = el("span", { class: "lib-where" });
    this.root = el(
      "div",
      { class: "lib-player", role: "group", "aria-label": "Playback" },
      button("To the start", "start", () => this.to(0)),
      button("A step back", "back", () => this.to(Math.ceil(this.#step) - 1)),
      this.play,
      button("A step on", "on", () => this.to(Math.floor(this.#step) + 1)),
      button("To the end", "end", () => this.to(this.#steps)),
      this.scrub,
      this.speed,
      this.where
    );
  }

  load(steps, rate) {
    this.#steps = steps;
    this.scrub.max = steps;
    this.#timed = rate > 1;
    this.#rate = rate > 1 ? rate : SLOWEST;
    this.#step = Math.min(this.#step, steps);
    this.#say();
  }

  get step() {
    return this.#step;
  }

  get playing() {
    return this.#frame !== 0;
  }

  /** Goes to a whole step and stops there. */
  to(step) {
    this.pause();
    this.note(Math.max(0, Math.min(this.#steps, step)));
    this.onStep(this.#step, false);
  }

  /** Takes over a step that somebody else went to. */
  note(step) {
    this.#step = step;
    this.#say();
  }

  toggle() {
    if (this.playing) {
      this.to(Math.round(this.#step));
      return;
    }
    if (this.#step >= this.#steps) this.#step = 0;
    this.#last = performance.now();
    this.#frame = requestAnimationFrame((now) => this.#tick(now));
    this.#sign("Pause", "pause");
  }

  pause() {
    cancelAnimationFrame(this.#frame);
    this.#frame = 0;
    this.#sign("Play", "play");
  }

  #tick(now) {
    const passed = Math.max(0, Math.min(now - this.#last, 250)) / 1000; // a hidden tab does not jump ahead
    this.#last = now;
    this.#step = Math.min(this.#steps, this.#step + passed * this.#rate * Number(this.speed.value));
    if (this.#step >= this.#steps) {
      this.to(this.#steps);
      return;
    }
    this.#say();
    this.onStep(this.#step, true);
    this.#frame = requestAnimationFrame((then) => this.#tick(then));
  }

  #sign(label, sign) {
    this.play.replaceChildren(drawn(SIGNS[sign]));
    this.play.setAttribute("aria-label", label);
    this.play.title = label;
  }

  #say() {
    const time = this.#timed ? ` · ${seconds(this.#step / this.#rate)}` : "";
    this.scrub.value = Math.round(this.#step);
    say(this.where, `step ${Math.floor(this.#step)} of ${this.#steps}${time}`);
  }
}

/** A sign as a picture, since not every system's fonts have these. */
function drawn(path) {
  const [svg, line] = ["svg", "path"].map((tag) => document.createElementNS("http://www.w3.org/2000/svg", tag));
  svg.setAttribute("viewBox", "0 0 16 16");
  svg.setAttribute("aria-hidden", "true");
  line.setAttribute("d", path);
  svg.append(line);
  return svg;
}
