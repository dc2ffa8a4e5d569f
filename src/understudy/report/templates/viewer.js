"use strict";
// Paths in a box that can be turned (3 dimensions), on a plane (2), or over time (1). No library, no network.
document.documentElement.classList.add("js");

const WORDS = { demo: "demonstration", success: "success", failure: "failure", rollout: "rollout" };
const PLURAL = { demo: "demonstrations", success: "successes", failure: "failures", rollout: "rollouts" };
const PLAIN = Object.fromEntries(Object.keys(WORDS).map((kind) => [kind, [WORDS[kind], PLURAL[kind]]]));
const LOUD = new Set(["failure", "worst"]);
const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const clamp = (x, a, b) => Math.min(Math.max(x, a), b);

function niceTicks(low, high, count) {
  const rough = (high - low) / count;
  if (!(rough > 0) || !isFinite(rough)) return [];
  const unit = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((m) => m * unit).reduce((a, b) => (Math.abs(Math.log(b / rough)) < Math.abs(Math.log(a / rough)) ? b : a));
  const out = [];
  for (let i = Math.ceil(low / step - 1e-9); i <= Math.floor(high / step + 1e-9); i++) out.push(i * step);
  return out;
}
const label = (v) => String(+v.toPrecision(4)).replace("-", "\u2212");

// The JSON of report/motion.py -> paths in the data's own units.
function decode(spec) {
  const bytes = Uint8Array.from(atob(spec.data), (c) => c.charCodeAt(0));
  const view = new DataView(bytes.buffer);
  const dims = spec.labels.length;
  let at = 0;
  const row = () => spec.low.map((low, d) => {
    const v = low + (view.getUint16(at + 2 * d, true) / 65535) * (spec.high[d] - low);
    if (d === dims - 1) at += 2 * dims;
    return v;
  });
  return spec.paths.map(([kind, name, steps, count, hasGoal, distance]) => {
    const points = Array.from({ length: count }, row);
    return { kind, name, steps, distance, points, goal: hasGoal ? row() : null };
  });
}

class Viewer {
  constructor(root) {
    this.root = root;
    this.spec = JSON.parse(document.getElementById(root.dataset.viewer).textContent);
    this.paths = decode(this.spec);
    this.dims = this.spec.labels.length;
    this.canvas = root.querySelector("canvas");
    this.tip = root.querySelector(".tip");
    this.slider = root.querySelector("input[type=range]");
    this.clock = root.querySelector("output");
    this.play = root.querySelector(".play");
    this.choice = root.querySelector("select");
    this.words = PLAIN;
    if (this.spec.colourings) this.paint_by(0);
    if (this.dims < 3) root.querySelector(".hint").textContent = "drag to move · click, then scroll to zoom";
    this.hidden ??= new Set();
    this.picked = this.hovered = null;
    this.longest = Math.max(1, ...this.paths.map((p) => p.steps));
    this.time = this.longest;
    this.frame();
    this.home();
    this.legend();
    this.controls();
    this.pointers();
    new ResizeObserver(() => this.draw()).observe(this.canvas);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.draw());
    root.viewer = this;
  }

  // The box in data units, and the scale that makes it about 2 wide; a series has the step as first axis.
  frame() {
    let low = this.spec.low.slice(), high = this.spec.high.slice();
    this.names = this.spec.labels.map((n) => (this.spec.unit ? `${n} (${this.spec.unit})` : n));
    if (this.dims === 1) {
      low.unshift(0); high.unshift(this.longest); this.names.unshift("step");
      for (const p of this.paths) {
        p.points = p.points.map((v, j) => [Math.floor((j * p.steps) / (p.points.length - 1) + 0.5), v[0]]);
        if (p.goal) p.goal = [p.steps, p.goal[0]];
      }
    }
    if (this.dims === 3) {
      const pad = 0.03 * Math.max(...high.map((h, d) => h - low[d]));
      low = low.map((v) => v - pad); high = high.map((v) => v + pad);
    }
    this.low = low; this.high = high;
    this.mid = low.map((v, d) => (v + high[d]) / 2);
    const wide = high.map((v, d) => (v - low[d]) / 2), most = Math.max(...wide);
    const stretch = this.dims === 1 || (this.dims === 2 && most > 4 * Math.min(...wide));
    this.unit = wide.map((w) => (stretch ? w : most));
    this.half = wide.map((w, d) => w / this.unit[d]);
    this.stretch = stretch;
  }

  // One of the ways to colour the paths that the page offers: a kind for each, and the words for the kinds.
  paint_by(index) {
    const way = this.spec.colourings[index];
    this.words = way.words;
    this.hidden = new Set();
    this.paths.forEach((p, i) => { p.kind = way.kinds[i]; });
  }

  home() {
    this.camera = { yaw: (-52 * Math.PI) / 180, pitch: (24 * Math.PI) / 180, zoom: 1, x: 0, y: 0 };
  }

  size() {
    const ratio = window.devicePixelRatio || 1;
    const w = this.canvas.clientWidth, h = this.canvas.clientHeight;
    if (this.canvas.width !== Math.round(w * ratio) || this.canvas.height !== Math.round(h * ratio)) {
      this.canvas.width = Math.round(w * ratio);
      this.canvas.height = Math.round(h * ratio);
    }
    return { w, h, ratio };
  }

  // Data -> [x, y] in CSS pixels. Perspective is weak: parallel lines should look parallel.
  projector(w, h) {
    const { yaw, pitch, zoom, x: panX, y: panY } = this.camera;
    if (this.dims < 3) {
      const left = 46, right = 16, top = 18, bottom = 40;
      let sx = (w - left - right) / 2 / this.half[0], sy = (h - top - bottom) / 2 / this.half[1];
      if (!this.stretch) sx = sy = Math.min(sx, sy);
      const cx = left + (w - left - right) / 2 + panX, cy = top + (h - top - bottom) / 2 + panY;
      this.centre = [cx - panX, cy - panY];
      const fx = (sx * zoom) / this.unit[0], fy = (sy * zoom) / this.unit[1];
      const to = (p) => [cx + (p[0] - this.mid[0]) * fx, cy - (p[1] - this.mid[1]) * fy];
      to.back = (px, py) => [(px - cx) / fx + this.mid[0], this.mid[1] - (py - cy) / fy];
      to.pad = { left, right, top, bottom };
      return to;
    }
    const cosY = Math.cos(yaw), sinY = Math.sin(yaw), cosP = Math.cos(pitch), sinP = Math.sin(pitch);
    const eye = 5 * Math.hypot(...this.half), { scale, rise } = this.fit(w, h, eye);
    this.centre = [w / 2, h / 2];
    return (p) => {
      const a = (p[0] - this.mid[0]) / this.unit[0], b = (p[1] - this.mid[1]) / this.unit[1];
      const c = (p[2] - this.mid[2]) / this.unit[2];
      const side = a * cosY - b * sinY, deep = a * sinY + b * cosY;
      const up = c * cosP + deep * sinP, far = deep * cosP - c * sinP;
      const f = (zoom * scale * eye) / (eye + far);
      return [w / 2 + panX + side * f, h / 2 + panY + zoom * rise - up * f];
    };
  }

  // The largest scale at which the box stays within the picture however it is turned about the vertical.
  fit(w, h, eye) {
    const pitch = (24 * Math.PI) / 180, margin = 34;
    let wide = 0, top = 0, bottom = 0;
    for (let turn = 0; turn < 24; turn++) {
      const c = Math.cos((turn * Math.PI) / 12), s = Math.sin((turn * Math.PI) / 12);
      for (let corner = 0; corner < 8; corner++) {
        const [a, b, z] = this.half.map((v, d) => (corner & (1 << d) ? v : -v));
        const deep = a * s + b * c, f = eye / (eye + deep * Math.cos(pitch) - z * Math.sin(pitch));
        wide = Math.max(wide, Math.abs(a * c - b * s) * f);
        top = Math.max(top, (z * Math.cos(pitch) + deep * Math.sin(pitch)) * f);
        bottom = Math.max(bottom, -(z * Math.cos(pitch) + deep * Math.sin(pitch)) * f);
      }
    }
    const scale = Math.min((w / 2 - margin) / wide, (h - 2 * margin) / (top + bottom));
    return { scale, rise: (scale * (top - bottom)) / 2 };
  }

  draw() {
    if (this.waiting) return;
    this.waiting = true;
    requestAnimationFrame(() => { this.waiting = false; this.paint(); });
  }

  paint() {
    const { w, h, ratio } = this.size();
    if (!w || !h) return;
    const c = this.canvas.getContext("2d");
    c.setTransform(ratio, 0, 0, ratio, 0, 0);
    c.clearRect(0, 0, w, h);
    c.font = `11.5px ${getComputedStyle(document.body).fontFamily}`;
    c.lineJoin = c.lineCap = "round";
    this.ink = Object.fromEntries(["ink", "muted", "line", "paper", "goal", ...Object.keys(this.words)].map((n) => [n, colour("--" + n)]));
    const to = this.projector(w, h);
    if (this.dims === 3) this.box(c, to); else this.axes(c, to, w, h);
    const focus = this.hovered ?? this.picked;
    const shown = this.paths.filter((p) => !this.hidden.has(p.kind));
    for (const p of shown) p.screen = p.points.map(to);
    if (this.dims === 3) for (const p of shown) if (p.kind !== "demo") this.shadow(c, to, p, focus);
    for (const loud of [false, true]) // what matters is drawn on top
      for (const p of shown) if (p !== focus && LOUD.has(p.kind) === loud) this.path(c, p, focus !== null);
    if (!this.hidden.has("goal")) for (const p of shown) if (p.goal && p.kind !== "demo") this.goal(c, to(p.goal), focus === null ? 0.55 : p === focus ? 1 : 0.15);
    if (focus && shown.includes(focus)) { this.path(c, focus, false, true); if (focus.goal) this.goal(c, to(focus.goal), 1); }
  }

  // The part of a path up to the present: whole points, and where the last segment stands now.
  upTo(p, line) {
    const j = clamp((this.time / Math.max(p.steps, 1)) * (line.length - 1), 0, line.length - 1);
    const whole = Math.floor(j), part = line.slice(0, whole + 1), share = j - whole;
    if (share > 0) part.push(line[whole].map((v, d) => v + share * (line[whole + 1][d] - v)));
    return part;
  }

  stroke(c, line) { // a polyline in pixels
    c.beginPath();
    line.forEach(([x, y], i) => (i ? c.lineTo(x, y) : c.moveTo(x, y)));
    c.stroke();
  }

  path(c, p, dim, strong = false) {
    const demo = p.kind === "demo", done = this.time >= p.steps;
    const base = strong ? 1 : dim ? 0.1 : demo ? 0.42 : LOUD.has(p.kind) ? 0.95 : 0.5;
    c.strokeStyle = c.fillStyle = this.ink[p.kind];
    c.lineWidth = strong ? 3 : demo ? 1 : p.kind === "worst" ? 2.4 : p.kind === "failure" ? 1.8 : 1.3;
    c.setLineDash(demo && !strong ? [1.5, 3.5] : []);
    if (this.time < this.longest) { c.globalAlpha = base * 0.16; this.stroke(c, p.screen); }
    c.globalAlpha = base;
    const part = this.upTo(p, p.screen);
    this.stroke(c, part);
    c.setLineDash([]);
    const [x, y] = part[part.length - 1];
    if (demo && !strong) { c.globalAlpha = 1; return; }
    c.globalAlpha = Math.min(1, base * 1.6);
    if (p.kind === "failure" && done) {
      const r = strong ? 6 : 4;
      c.lineWidth = strong ? 2.6 : 2;
      this.stroke(c, [[x - r, y - r], [x + r, y + r]]);
      this.stroke(c, [[x - r, y + r], [x + r, y - r]]);
    } else {
      c.beginPath(); c.arc(x, y, strong ? 5 : 2.6, 0, 7); c.fill();
    }
    if (strong) {
      c.beginPath(); c.arc(...p.screen[0], 4, 0, 7);
      c.fillStyle = this.ink.paper; c.fill(); c.lineWidth = 2; c.stroke();
    }
    c.globalAlpha = 1;
  }

  shadow(c, to, p, focus) {
    c.strokeStyle = this.ink.ink;
    c.lineWidth = p === focus ? 2 : 1;
    c.globalAlpha = p === focus ? 0.3 : focus ? 0.02 : 0.06;
    this.stroke(c, this.upTo(p, p.points).map((q) => to([q[0], q[1], this.low[2]])));
    c.globalAlpha = 1;
  }

  goal(c, [x, y], alpha) {
    c.globalAlpha = alpha;
    c.lineWidth = 1.4;
    c.strokeStyle = this.ink.goal;
    const r = this.canvas.clientWidth < 500 ? 3 : 4.5;
    this.stroke(c, [[x, y - r], [x + r, y], [x, y + r], [x - r, y], [x, y - r]]);
    c.globalAlpha = 1;
  }

  text(c, words, x, y, align = "center", shade = "muted") {
    c.textAlign = align; c.fillStyle = this.ink[shade];
    c.lineWidth = 3; c.strokeStyle = this.ink.paper;
    c.strokeText(words, x, y); c.fillText(words, x, y);
  }

  box(c, to) {
    const { low, high } = this, line = (a, b) => this.stroke(c, [to(a), to(b)]);
    c.strokeStyle = this.ink.line; c.lineWidth = 1;
    const many = (d, n) => niceTicks(low[d], high[d], clamp(Math.round(n * this.half[d]), 1, n));
    const tx = many(0, 5), ty = many(1, 5), tz = many(2, 5);
    for (const v of tx) line([v, low[1], low[2]], [v, high[1], low[2]]);
    for (const v of ty) line([low[0], v, low[2]], [high[0], v, low[2]]);
    // Walls that face the viewer from behind; labels on the edges that face the viewer from the front.
    const back = Math.cos(this.camera.yaw) > 0 ? high[1] : low[1], front = back === high[1] ? low[1] : high[1];
    const far = Math.sin(this.camera.yaw) > 0 ? high[0] : low[0], near = far === high[0] ? low[0] : high[0];
    for (const v of tz) { line([low[0], back, v], [high[0], back, v]); line([far, low[1], v], [far, high[1], v]); }
    for (const x of [low[0], high[0]]) line([x, back, low[2]], [x, back, high[2]]);
    for (const y of [low[1], high[1]]) line([far, y, low[2]], [far, y, high[2]]);
    c.strokeStyle = this.ink.muted;
    line([low[0], front, low[2]], [high[0], front, low[2]]);
    line([near, low[1], low[2]], [near, high[1], low[2]]);
    const centre = to([this.mid[0], this.mid[1], low[2]]);
    const out = (p, by) => {
      const [x, y] = to(p), dx = x - centre[0], dy = y - centre[1], r = Math.hypot(dx, dy) || 1;
      return [x + (dx / r) * by, y + (dy / r) * by + 4];
    };
    for (const v of tx) this.text(c, label(v), ...out([v, front, low[2]], 14));
    for (const v of ty) this.text(c, label(v), ...out([near, v, low[2]], 14));
    this.text(c, this.names[0], ...out([this.mid[0], front, low[2]], 36), "center", "ink");
    this.text(c, this.names[1], ...out([near, this.mid[1], low[2]], 36), "center", "ink");
    const corners = [[low[0], back], [high[0], back], [far, low[1]], [far, high[1]]];
    const left = corners.reduce((a, b) => (to([...b, low[2]])[0] < to([...a, low[2]])[0] ? b : a));
    for (const v of tz.filter((t) => t - low[2] > 0.06 * (high[2] - low[2]))) { const [x, y] = to([...left, v]); this.text(c, label(v), x - 8, y + 4, "right"); }
    const [x, y] = to([...left, high[2]]);
    this.text(c, this.names[2], x, y - 12, "center", "ink");
  }

  axes(c, to, w, h) {
    const { left, right, top, bottom } = to.pad;
    const [x0, y1] = to.back(left, top), [x1, y0] = to.back(w - right, h - bottom);
    const xs = niceTicks(x0, x1, clamp(w / 110, 2, 8)).map((v) => [v, to([v, y0])[0]]);
    const ys = niceTicks(y0, y1, clamp(h / 70, 2, 8)).map((v) => [v, to([x0, v])[1]]);
    c.lineWidth = 1; c.strokeStyle = this.ink.line;
    for (const [, x] of xs) this.stroke(c, [[x, top], [x, h - bottom]]);
    for (const [, y] of ys) this.stroke(c, [[left, y], [w - right, y]]);
    for (const [v, x] of xs) this.text(c, label(v), x, h - bottom + 16);
    for (const [v, y] of ys) this.text(c, label(v), left - 7, y + 4, "right");
    this.text(c, this.names[0], w - right, h - bottom + 33, "right", "ink");
    this.text(c, this.names[1], 4, 12, "left", "ink");
  }
}
