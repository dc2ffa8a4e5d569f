// What people do to a viewer and to the tables: legend, clock, pointer, keys, sorting, filtering.
Object.assign(Viewer.prototype, {
  legend() {
    const list = this.root.querySelector(".legend");
    const kinds = Object.keys(this.words).filter((k) => this.paths.some((p) => p.kind === k));
    list.replaceChildren();
    const goals = this.paths.filter((p) => p.goal && p.kind !== "demo").length;
    for (const kind of goals ? [...kinds, "goal"] : kinds) {
      const count = kind === "goal" ? goals : this.paths.filter((p) => p.kind === kind).length;
      const button = document.createElement("button");
      button.type = "button";
      button.className = `key ${kind}`;
      button.setAttribute("aria-pressed", "true");
      const name = kind === "goal" ? "goals" : this.words[kind][1];
      button.append(document.createElement("i"), `${name} `, Object.assign(document.createElement("small"), { textContent: count }));
      button.addEventListener("click", () => {
        const hide = !this.hidden.has(kind);
        this.hidden[hide ? "add" : "delete"](kind);
        button.setAttribute("aria-pressed", String(!hide));
        this.draw();
      });
      list.append(button);
    }
  },

  controls() {
    this.slider.max = this.longest;
    this.slider.value = this.longest;
    this.slider.addEventListener("input", () => { this.stop(); this.seek(+this.slider.value); });
    this.play.addEventListener("click", () => (this.playing ? this.stop() : this.start()));
    const order = ["worst", "failure", "success", "rollout", "demo"];
    const sorted = [...this.paths].sort((a, b) => order.indexOf(a.kind) - order.indexOf(b.kind));
    for (const p of sorted) this.choice.append(new Option(p.kind === "demo" ? p.name : `${p.name}, ${this.words[p.kind][0]}`, this.paths.indexOf(p)));
    this.colourings();
    this.choice.addEventListener("change", () => this.pick(this.paths[this.choice.value] ?? null));
    this.root.querySelector(".reset").addEventListener("click", () => { this.home(); this.pick(null); });
    this.seek(this.longest);
  },

  // Where there are several ways to colour the paths, a choice between them.
  colourings() {
    const ways = this.spec.colourings ?? [];
    if (ways.length < 2) return;
    const field = document.createElement("label"), choice = document.createElement("select");
    ways.forEach((way, i) => choice.append(new Option(way.name, i)));
    choice.addEventListener("change", () => { this.paint_by(+choice.value); this.legend(); this.draw(); });
    field.append("Colour by ", choice);
    this.root.querySelector(".reset").before(field);
  },

  seek(time) {
    this.time = clamp(time, 0, this.longest);
    this.slider.value = Math.round(this.time);
    this.clock.textContent = `step ${Math.round(this.time)} of ${this.longest}`;
    this.slider.setAttribute("aria-valuetext", this.clock.textContent);
    this.draw();
  },

  start() {
    if (this.time >= this.longest) this.seek(0);
    this.playing = true;
    this.play.textContent = "Pause";
    const seconds = clamp(this.longest / 20, 2.5, 8);
    let last = performance.now();
    const tick = (now) => {
      if (!this.playing) return;
      this.seek(this.time + ((now - last) / 1000 / seconds) * this.longest);
      last = now;
      if (this.time >= this.longest) this.stop(); else requestAnimationFrame(tick);
    };
    requestAnimationFrame(tick);
  },

  stop() {
    this.playing = false;
    this.play.textContent = "Play";
  },

  pick(path) {
    this.picked = path;
    this.hovered = null;
    this.choice.value = path ? this.paths.indexOf(path) : "";
    this.draw();
  },

  nearest(x, y) {
    let best = null, least = 12 * 12;
    for (const p of this.paths) {
      if (this.hidden.has(p.kind) || !p.screen) continue;
      for (let i = 1; i < p.screen.length; i++) {
        const [ax, ay] = p.screen[i - 1], dx = p.screen[i][0] - ax, dy = p.screen[i][1] - ay;
        const s = clamp(((x - ax) * dx + (y - ay) * dy) / (dx * dx + dy * dy || 1), 0, 1);
        const d = (x - ax - s * dx) ** 2 + (y - ay - s * dy) ** 2;
        if (d < least) { least = d; best = p; }
      }
    }
    return best;
  },

  point(x, y) {
    const found = this.nearest(x, y);
    if (found !== this.hovered) { this.hovered = found; this.draw(); }
    this.tip.hidden = !found;
    if (!found) return;
    const far = found.distance === null ? "" : ` · ${label(+found.distance.toPrecision(3))} ${this.spec.unit} from the goal at the end`;
    const strong = Object.assign(document.createElement("strong"), { textContent: found.name });
    const kind = found.kind === "demo" ? "" : ` · ${this.words[found.kind][0]}`;
    this.tip.replaceChildren(strong, `${kind} · ${found.steps} steps${far}`);
    const room = this.canvas.clientWidth - this.tip.offsetWidth - 8;
    this.tip.style.left = `${clamp(x + 14, 8, Math.max(8, room))}px`;
    this.tip.style.top = `${Math.max(8, y - this.tip.offsetHeight - 12)}px`;
  },

  move(dx, dy) {
    if (this.dims === 3) {
      this.camera.yaw -= dx * 0.008;
      this.camera.pitch = clamp(this.camera.pitch + dy * 0.008, -0.25, Math.PI / 2);
    } else {
      this.camera.x += dx;
      this.camera.y += dy;
    }
    this.draw();
  },

  zoom(factor, x, y) {
    const before = this.camera.zoom, after = clamp(before * factor, 0.5, 40), real = after / before;
    const [cx, cy] = this.centre;
    this.camera.x = (this.camera.x + cx - x) * real + x - cx;
    this.camera.y = (this.camera.y + cy - y) * real + y - cy;
    this.camera.zoom = after;
    this.draw();
  },

  pointers() {
    const down = new Map(), c = this.canvas;
    let moved = 0;
    const place = (e) => { const r = c.getBoundingClientRect(); return [e.clientX - r.left, e.clientY - r.top]; };
    const end = (e) => { down.delete(e.pointerId); };
    c.addEventListener("pointerdown", (e) => { c.setPointerCapture(e.pointerId); down.set(e.pointerId, place(e)); moved = 0; });
    c.addEventListener("pointermove", (e) => {
      const now = place(e), before = down.get(e.pointerId);
      if (!before) return void this.point(...now);
      this.tip.hidden = true;
      const other = [...down.entries()].find(([id]) => id !== e.pointerId)?.[1];
      if (other) {
        const span = (p) => Math.hypot(p[0] - other[0], p[1] - other[1]) || 1;
        this.zoom(span(now) / span(before), (now[0] + other[0]) / 2, (now[1] + other[1]) / 2);
      } else this.move(now[0] - before[0], now[1] - before[1]);
      moved += Math.hypot(now[0] - before[0], now[1] - before[1]);
      down.set(e.pointerId, now);
    });
    c.addEventListener("pointerup", (e) => {
      end(e);
      if (moved < 4) { this.pick(this.nearest(...place(e))); if (e.pointerType !== "mouse") this.point(...place(e)); }
    });
    c.addEventListener("pointercancel", end);
    c.addEventListener("pointerleave", () => { if (this.hovered) { this.hovered = null; this.draw(); } this.tip.hidden = true; });
    // A page must still scroll past: the wheel zooms once the picture has the focus, or with Ctrl.
    c.addEventListener("wheel", (e) => {
      if (document.activeElement !== c && !e.ctrlKey) return;
      e.preventDefault();
      this.zoom(Math.exp(-e.deltaY * 0.0015), ...place(e));
    }, { passive: false });
    c.addEventListener("dblclick", () => { this.home(); this.draw(); });
    const keys = {
      ArrowLeft: () => this.move(-14, 0), ArrowRight: () => this.move(14, 0), ArrowUp: () => this.move(0, -14), ArrowDown: () => this.move(0, 14),
      "+": () => this.zoom(1.15, c.clientWidth / 2, c.clientHeight / 2), "-": () => this.zoom(1 / 1.15, c.clientWidth / 2, c.clientHeight / 2),
      " ": () => this.play.click(), Home: () => { this.home(); this.draw(); }, Escape: () => { this.pick(null); c.blur(); },
    };
    c.addEventListener("keydown", (e) => { if (keys[e.key] && !e.ctrlKey && !e.metaKey) { e.preventDefault(); keys[e.key](); } });
  },
});

const viewers = [...document.querySelectorAll("[data-viewer]")].map((root) => new Viewer(root));
for (const [event, on] of [["beforeprint", true], ["afterprint", false]])
  addEventListener(event, () => { document.documentElement.classList.toggle("printing", on); for (const v of viewers) v.paint(); });

for (const table of document.querySelectorAll("table.episodes")) {
  const body = table.tBodies[0], heads = [...table.tHead.rows[0].cells];
  const value = (row, i) => { const v = row.cells[i].dataset.value; return v === "" ? NaN : +v; };
  heads.forEach((head, i) => head.querySelector("button").addEventListener("click", () => {
    const up = head.getAttribute("aria-sort") !== "ascending";
    for (const h of heads) h.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", up ? "ascending" : "descending");
    const rows = [...body.rows].map((row) => [value(row, i), row]);
    rows.sort(([a], [b]) => (isNaN(a) - isNaN(b)) || (up ? a - b : b - a) || 0);
    body.append(...rows.map(([, row]) => row));
  }));
  const only = document.getElementById(table.dataset.filter);
  only?.addEventListener("change", () => table.classList.toggle("only-failures", only.checked));
  const viewer = document.querySelector(`[data-viewer="${CSS.escape(table.dataset.motion ?? "")}"]`)?.viewer;
  for (const button of body.querySelectorAll("button[data-path]")) {
    const found = viewer?.paths.find((p) => p.kind !== "demo" && p.name === button.dataset.path);
    if (!found) { button.replaceWith(button.textContent); continue; }
    button.addEventListener("click", () => {
      viewer.pick(found);
      viewer.root.scrollIntoView({ behavior: matchMedia("(prefers-reduced-motion: reduce)").matches ? "auto" : "smooth", block: "center" });
      viewer.canvas.focus({ preventScroll: true });
    });
  }
}
