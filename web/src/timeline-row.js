// One row of a timeline: the curves of an action or an observation, with a switch and a value for each dimension.
import { el, say } from "./dom.js";
import { value } from "./library-words.js";

const FIRST = 4; // dimensions of a wide observation that are drawn before anybody chooses
const COLOURS = 6;

/** A row. `label` is drawn dotted over it, `other` (another episode) dashed; `changed` hears of switches. */
export class TimelineRow {
  constructor(series, { label, other, shown, changed }) {
    Object.assign(this, { series, label, other, changed, name: series.name });
    const drawn = series.low.length;
    this.shown = shown ?? new Set([...Array(Math.min(drawn, FIRST)).keys()]);
    this.canvas = el("canvas", { class: "tl-curves", role: "img", "aria-label": `${series.name} over the steps` });
    this.values = series.low.map(() => el("b", { class: "tl-value" }, "–"));
    this.switches = series.low.map((_, d) => this.#chip(d));
    this.range = el("span", { class: "tl-range" });
    const more = series.dims > drawn ? [el("span", { class: "tl-more" }, `and ${series.dims - drawn} more`)] : [];
    this.root = el(
      "div",
      { class: "tl-row" },
      el("div", { class: "tl-name" }, el("span", { class: "tl-title" }, series.name), this.range),
      this.canvas,
      el("div", { class: "tl-chips", role: "group", "aria-label": `Dimensions of ${series.name}` }, ...this.switches, ...more)
    );
  }

  /** Values at a step, as far as the drawn curves tell. */
  point(step, steps) {
    const { low, high, rows } = this.series;
    const bins = low[0]?.length ?? 0;
    const row = Math.min(rows - 1, Math.round(step));
    const bin = Math.min(bins - 1, Math.floor((row * bins) / rows));
    const beyond = rows === steps && Math.round(step) >= rows; // the last state has no action
    this.values.forEach((node, d) => say(node, beyond ? "–" : value(high ? (low[d][bin] + high[d][bin]) / 2 : low[d][bin])));
  }

  /** The very values of the step, from the server. */
  exact(said) {
    const { kind, name } = this.series;
    const found = kind === "action" ? said.action : kind === "reward" ? [said.reward] : said.obs[name];
    this.values.forEach((node, d) => say(node, value(found?.[d])));
  }

  draw(style, share, otherShare) {
    const { ctx, width, height } = sized(this.canvas);
    const dims = [...this.shown].filter((d) => d < this.series.low.length);
    const [low, high] = this.#span(dims);
    say(this.range, dims.length ? `${value(low)} … ${value(high)}` : "");
    const y = (v) => height - 4 - ((v - low) / (high - low || 1)) * (height - 8);
    if (low < 0 && high > 0) {
      ctx.fillStyle = style.getPropertyValue("--line");
      ctx.fillRect(0, Math.round(y(0)), width, 1);
    }
    for (const d of dims) {
      ctx.strokeStyle = ctx.fillStyle = style.getPropertyValue(`--lib-series-${(d % COLOURS) + 1}`);
      if (this.other?.low[d]) curve(ctx, this.other, d, width * otherShare, y, [6, 4], 1.25);
      curve(ctx, this.series, d, width * share, y, [], 1.75);
      if (this.label?.low[d]) curve(ctx, this.label, d, width * share, y, [1.5, 3], 2);
    }
  }

  #span(dims) {
    let low = Infinity;
    let high = -Infinity;
    for (const series of [this.series, this.label, this.other]) {
      for (const d of series ? dims : []) {
        for (const x of series.low[d] ?? []) if (x !== null && x < low) low = x;
        for (const x of (series.high ?? series.low)[d] ?? []) if (x !== null && x > high) high = x;
      }
    }
    return low <= high ? [low, high] : [0, 1];
  }

  #chip(d) {
    const chip = el(
      "button",
      { type: "button", class: `tl-chip tl-colour-${(d % COLOURS) + 1}`, "aria-pressed": String(this.shown.has(d)) },
      el("i", { "aria-hidden": "true" }),
      this.series.low.length > 1 ? `${d}` : "",
      this.values[d]
    );
    chip.addEventListener("click", () => {
      if (!this.shown.delete(d)) this.shown.add(d);
      chip.setAttribute("aria-pressed", String(this.shown.has(d)));
      this.changed();
    });
    return chip;
  }
}

/** A canvas as sharp as the screen, cleared. */
export function sized(canvas) {
  const ratio = Math.min(window.devicePixelRatio || 1, 2);
  const { clientWidth: width, clientHeight: height } = canvas;
  canvas.width = Math.max(1, Math.round(width * ratio));
  canvas.height = Math.max(1, Math.round(height * ratio));
  const ctx = canvas.getContext("2d");
  ctx.scale(ratio, ratio);
  return { ctx, width, height };
}

/** A line through the rows; where bins hold several, the band from their smallest to their largest value. */
function curve(ctx, series, d, width, y, dash, thick) {
  const low = series.low[d];
  const high = series.high?.[d] ?? low;
  // A state stands at its step; an action lasts from its step to the next.
  const span = series.kind === "observation" ? Math.max(1, low.length - 1) : low.length;
  const half = series.kind === "observation" ? 0 : 0.5;
  ctx.setLineDash(dash);
  ctx.lineWidth = thick;
  ctx.beginPath();
  let open = false;
  low.forEach((bottom, i) => {
    if (bottom === null) {
      open = false;
      return;
    }
    const x = ((i + half) / span) * width;
    if (open) ctx.lineTo(x, y(bottom));
    else ctx.moveTo(x, y(bottom));
    if (high[i] !== bottom) ctx.lineTo(x, y(high[i]));
    if (!open && (low[i + 1] ?? null) === null) ctx.fillRect(x - 1.5, y(bottom) - 1.5, 3, 3); // one alone
    open = true;
  });
  ctx.stroke();
  ctx.setLineDash([]);
}
