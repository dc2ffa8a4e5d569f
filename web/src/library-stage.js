// What an episode looked like at a step: its scene, simulated again, and what its cameras saw.
import { el, say, show } from "./dom.js";
import { value } from "./library-words.js";
import { SceneView, between } from "./scene.js";

const BROWSING = 150; // ms after which an episode is looked at, and not only passed on the way to another

/** Scene and cameras, moved by `at(step)`. */
export class Stage {
  #turn = 0;
  #poses = null;
  #ghost = null;
  #view = null;
  #cameras = [];
  #step = 0;
  #blob = null;
  #frame = 0;

  constructor(api) {
    this.api = api;
    this.canvas = el("canvas", { class: "lib-canvas", tabindex: "0", role: "img", "aria-label": "The scene. Drag, or Shift with the arrow keys, to turn it" });
    this.note = el("p", { class: "lib-note", role: "status" });
    this.reset = el("button", { type: "button", class: "lib-small", on: { click: () => this.#view?.resetCamera() } }, "Reset view");
    this.scene = el("div", { class: "lib-scene" }, this.canvas, this.reset);
    this.pictures = el("div", { class: "lib-pictures" });
    this.root = el("div", { class: "lib-stage" }, this.scene, this.pictures, this.note);
    this.watch = new ResizeObserver(() => this.#view?.resize());
    this.watch.observe(this.scene);
  }

  /** Shows an episode, and `other` as a ghost beside it. */
  async show(query, cameras, other = null) {
    const turn = ++this.#turn;
    this.#poses = this.#ghost = null;
    this.#film(query, cameras);
    say(this.note, "Simulating the episode again…");
    await new Promise((resolve) => setTimeout(resolve, BROWSING));
    if (turn !== this.#turn) return;
    try {
      const poses = await this.api.poses(query);
      const { bytes } = await this.api.bytes("scene.bin", query);
      if (turn !== this.#turn) return;
      show(this.scene, true);
      await this.#load(bytes);
      if (turn !== this.#turn) return;
      this.#poses = poses;
      say(this.note, poses.faithful ? "" : `The simulation strays from the recording by up to ${value(poses.deviation)} standard deviations: what is drawn may not be what happened.`);
      this.at(this.#step);
      await this.#beside(other, turn);
    } catch (error) {
      if (turn !== this.#turn || error.name === "AbortError") return;
      show(this.scene, false);
      say(this.note, `No scene: ${error.message}`);
    }
    this.at(this.#step);
  }

  /** Puts the geometry up, unless it is there already: then the camera stays where it was turned to. */
  async #load(bytes) {
    if (!this.#view) {
      this.#view = new SceneView(this.canvas);
      this.#draw();
    }
    this.#view.resize();
    if (same(bytes, this.#blob)) return;
    this.#blob = null;
    await this.#view.load(bytes);
    this.#blob = bytes;
  }

  #draw() {
    this.#frame = requestAnimationFrame(() => this.#draw());
    if (this.canvas.offsetParent !== null) this.#view.render();
  }

  async #beside(other, turn) {
    if (!other) return;
    try {
      const ghost = await this.api.poses(other);
      if (turn !== this.#turn) return;
      if (ghost.bodies === this.#poses.bodies) this.#ghost = ghost;
      else say(this.note, "The other episode is of another scene, so there is no ghost.");
    } catch (error) {
      if (turn === this.#turn) say(this.note, `No ghost: ${error.message}`);
    }
  }

  /** Moves to a step; between two steps the scene is in between. */
  at(step) {
    this.#step = step;
    if (this.#view && this.#poses) {
      this.#view.setPoses(posed(this.#poses, step));
      this.#view.ghost(this.#ghost && posed(this.#ghost, step));
    }
    for (const camera of this.#cameras) camera(Math.round(step));
  }

  dispose() {
    this.#turn += 1;
    this.watch.disconnect();
    cancelAnimationFrame(this.#frame);
    this.#view?.dispose();
  }

  #film(query, cameras) {
    show(this.pictures, cameras.length > 0);
    this.#cameras = [];
    this.pictures.replaceChildren(
      ...cameras.map((name) => {
        const image = el("img", { alt: `camera ${name}`, decoding: "async" });
        this.#cameras.push(latest(image, (step) => this.api.url("picture", { ...query, step, camera: name })));
        return el("figure", {}, image, el("figcaption", {}, name));
      })
    );
    this.at(this.#step);
  }
}

/** Sets an image's source to the newest step asked for, one request at a time. */
function latest(image, url) {
  let wanted = null;
  let loading = null;
  const next = () => {
    if (wanted === loading) return;
    loading = wanted;
    image.src = url(loading);
  };
  const done = () => {
    const had = loading;
    loading = null;
    if (wanted !== had) next();
    else loading = had;
  };
  image.addEventListener("load", done);
  image.addEventListener("error", done);
  return (step) => {
    const idle = loading === null || image.complete;
    wanted = step;
    if (idle) next();
  };
}

/** The poses at a step; between two steps in between. */
function posed({ frames, bodies, poses }, step) {
  const size = bodies * 7;
  const at = Math.max(0, Math.min(frames - 1, step));
  const low = Math.floor(at);
  const here = poses.subarray(low * size, (low + 1) * size);
  return at === low ? here : between(here, poses.subarray((low + 1) * size, (low + 2) * size), at - low);
}

/** Whether two buffers hold the same bytes. */
function same(a, b) {
  if (!b || a.byteLength !== b.byteLength) return false;
  const [x, y] = [new Uint8Array(a), new Uint8Array(b)];
  return x.every((byte, i) => byte === y[i]);
}
