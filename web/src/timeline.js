// An episode along its steps: who drove, actions, observations; one scrubber through all of them, and trim handles.
import { el } from "./dom.js";
import { TimelineRow, sized } from "./timeline-row.js";

const PAGE = 10; // steps of PageUp and PageDown

/** Rows of curves with one scrubber. `onStep(step)` hears of every move, `onTrim(start, stop)` of the handles. */
export class Timeline {
  #rows = [];
  #steps = 1;
  #step = 0;
  #trim = null;
  #data = null;
  #other = null;

  constructor({ onStep, onTrim }) {
    this.onStep = onStep;
    this.onTrim = onTrim;
    this.rows = el("div", { class: "tl-rows" });
    this.head = el("div", { class: "tl-cursor", role: "slider", tabindex: "0", "aria-label": "Step", "aria-valuemin": "0" }, el("i"));
    this.shades = [el("div", { class: "tl-shade", hidden: true }), el("div", { class: "tl-shade", hidden: true })];
    this.handles = ["First step that stays", "Step where the rest is cut off"].map((label, i) =>
      el("div", { class: `tl-handle tl-handle-${i ? "stop" : "start"}`, role: "slider", tabindex: "0", "aria-label": label, hidden: true })
    );
    this.plot = el("div", { class: "tl-plot" }, ...this.shades, this.head, ...this.handles);
    this.root = el("div", { class: "tl" }, this.rows, this.plot);
    this.root.addEventListener("pointerdown", (e) => this.#press(e));
    this.head.addEventListener("keydown", (e) => this.#keys(e));
    this.handles.forEach((handle, i) => handle.addEventListener("keydown", (e) => this.#handleKeys(e, i)));
    this.watch = new ResizeObserver(() => this.#draw());
    this.watch.observe(this.root);
    this.scheme = matchMedia("(prefers-color-scheme: dark)");
    this.redraw = () => this.#draw();
    this.scheme.addEventListener("change", this.redraw);
  }

  /** Shows an episode's columns, and dashed over them those of another one. */
  load(data, other = null) {
    const shown = new Map(this.#rows.map((row) => [row.name, row.shown]));
    this.#data = data;
    this.#other = other;
    this.#steps = Math.max(data.steps, other ? other.steps : 0);
    const beside = (name) => other?.series.find((s) => s.name === name && s.kind !== "label");
    const label = data.series.find((s) => s.kind === "label");
    this.#rows = data.series
      .filter((s) => s.kind !== "label")
      .map((s) => new TimelineRow(s, { label: s.kind === "action" ? label : null, other: beside(s.name), shown: shown.get(s.name), changed: () => this.#draw() }));
    this.bands = data.control || data.labelled.some((x) => !x) ? el("canvas", { class: "tl-bands", "aria-hidden": "true" }) : null;
    const band = this.bands ? [el("div", { class: "tl-row tl-row-bands" }, this.#legend(data), this.bands)] : [];
    this.rows.replaceChildren(...band, ...this.#rows.map((row) => row.root));
    this.head.setAttribute("aria-valuemax", data.steps);
    this.setStep(Math.min(this.#step, data.steps));
    this.#draw();
  }

  get step() {
    return this.#step;
  }

  /** Moves the scrubber without telling `onStep`. */
  setStep(step) {
    this.#step = step;
    this.head.style.left = `${this.#at(step)}%`;
    this.head.setAttribute("aria-valuenow", Math.round(step));
    this.head.setAttribute("aria-valuetext", `step ${Math.round(step)} of ${this.#data?.steps ?? 0}`);
    for (const row of this.#rows) row.point(step, this.#data.steps);
  }

  /** Exact values at the scrubber, where they came from the server. */
  setExact(exact) {
    for (const row of this.#rows) row.exact(exact);
  }

  /** Shows the steps [start, stop) as what stays, or null for no handles. */
  setTrim(window) {
    this.#trim = window;
    for (const part of [...this.shades, ...this.handles]) part.hidden = !window;
    if (!window) return;
    const [start, stop] = window;
    this.shades[0].style.left = "0%";
    this.shades[0].style.width = `${this.#at(start)}%`;
    this.shades[1].style.left = `${this.#at(stop)}%`;
    this.shades[1].style.width = `${100 - this.#at(stop)}%`;
    this.handles.forEach((handle, i) => {
      handle.style.left = `${this.#at(window[i])}%`;
      handle.setAttribute("aria-valuemin", i ? start + 1 : 0);
      handle.setAttribute("aria-valuemax", i ? this.#data.steps : stop - 1);
      handle.setAttribute("aria-valuenow", window[i]);
    });
  }

  dispose() {
    this.watch.disconnect();
    this.scheme.removeEventListener("change", this.redraw);
  }

  #at(step) {
    return (100 * step) / this.#steps;
  }

  #legend(data) {
    const parts = [];
    if (data.control) parts.push(el("span", { class: "tl-key tl-key-drove" }, "operator drove"));
    if (data.labelled.some((x) => !x)) parts.push(el("span", { class: "tl-key tl-key-said" }, "labelled"));
    return el("div", { class: "tl-name" }, ...parts);
  }

  #press(event) {
    const box = this.plot.getBoundingClientRect();
    if (event.button !== 0 || event.target.closest("button, summary, .tl-name") || event.clientX < box.left - 8) return;
    const which = this.handles.indexOf(event.target.closest(".tl-handle"));
    const move = (e) => {
      const step = Math.round((this.#steps * (e.clientX - box.left)) / box.width);
      if (which >= 0) this.#moveHandle(which, step);
      else this.#go(step);
    };
    const done = () => {
      this.root.removeEventListener("pointermove", move);
      this.root.removeEventListener("pointerup", done);
      this.root.removeEventListener("pointercancel", done);
    };
    this.root.setPointerCapture(event.pointerId);
    this.root.addEventListener("pointermove", move);
    this.root.addEventListener("pointerup", done);
    this.root.addEventListener("pointercancel", done);
    (which >= 0 ? this.handles[which] : this.head).focus({ preventScroll: true });
    event.preventDefault();
    move(event);
  }

  #go(step) {
    const there = Math.max(0, Math.min(this.#data.steps, step));
    this.setStep(there);
    this.onStep(there);
  }

  #moveHandle(which, step) {
    if (!this.#trim) return;
    const [start, stop] = this.#trim;
    const window = which ? [start, Math.max(start + 1, Math.min(this.#data.steps, step))] : [Math.max(0, Math.min(stop - 1, step)), stop];
    this.setTrim(window);
    this.onTrim(...window);
  }

  #keys(event) {
    const here = Math.round(this.#step);
    const to = moved(event, here, this.#data.steps);
    if (to === null) return;
    event.preventDefault();
    event.stopPropagation();
    this.#go(to);
  }

  #handleKeys(event, which) {
    const to = moved(event, this.#trim[which], this.#data.steps);
    if (to === null) return;
    event.preventDefault();
    event.stopPropagation();
    this.#moveHandle(which, to);
  }

  #draw() {
    if (!this.#data) return;
    const last = this.#rows.at(-1);
    if (last) {
      const box = last.canvas.getBoundingClientRect();
      const mine = this.root.getBoundingClientRect();
      this.plot.style.left = `${box.left - mine.left}px`;
      this.plot.style.width = `${box.width}px`;
    }
    const share = this.#data.steps / this.#steps;
    const style = getComputedStyle(this.root);
    for (const row of this.#rows) row.draw(style, share, this.#other ? this.#other.steps / this.#steps : 0);
    if (this.bands) drawBands(this.bands, this.#data, style, share);
    if (this.#trim) this.setTrim(this.#trim);
  }
}

/** Where a key goes from a step, or null for a key that means nothing here. */
function moved(event, here, last) {
  if (event.ctrlKey || event.metaKey || event.altKey) return null;
  const by = event.shiftKey ? PAGE : 1;
  const to = { ArrowLeft: here - by, ArrowRight: here + by, ArrowDown: here - by, ArrowUp: here + by, PageDown: here - PAGE, PageUp: here + PAGE, Home: 0, End: last }[event.key];
  return to === undefined ? null : Math.max(0, Math.min(last, to));
}

/** Two thin bands: where the operator drove, and where he said what to do. */
function drawBands(canvas, data, style, share) {
  const { ctx, width, height } = sized(canvas);
  const half = data.control && data.labelled.some((x) => !x) ? height / 2 : height;
  const paint = (bins, top, colour) => {
    const wide = (width * share) / bins.length;
    ctx.fillStyle = style.getPropertyValue("--line");
    ctx.fillRect(0, top + 1, width * share, half - 2);
    ctx.fillStyle = style.getPropertyValue(colour);
    bins.forEach((on, i) => on && ctx.fillRect(i * wide, top + 1, wide + 0.5, half - 2));
  };
  if (data.control) paint(data.control, 0, "--lib-drove");
  if (data.labelled.some((x) => !x)) paint(data.labelled, data.control ? half : 0, "--lib-said");
}
