// The scene and what lies over it: who drives, what is recorded, the countdown, the cameras and the keys.
import { SceneView } from "./scene.js";
import { el, list, number, record, say, show, words } from "./dom.js";
import { named } from "./keys.js";
import { records } from "./phases.js";

/** The stage: a canvas with its overlays, cameras beside it and the keys under it. */
export class Stage {
  constructor() {
    this.canvas = el("canvas", { tabindex: "0", "aria-label": "The robot's scene. Drag to look around." });
    this.recording = el("p", { class: "recording", hidden: true }, el("i", { "aria-hidden": "true" }), el("span"));
    this.driver = el("p", { class: "driver", hidden: true }, el("i", { "aria-hidden": "true" }), el("span"));
    this.success = el("p", { class: "reached", hidden: true }, el("i", { "aria-hidden": "true" }), "The task is done");
    this.count = el("p", { class: "count", hidden: true }, el("b"), el("span", {}, "Get ready"));
    this.stopped = el("p", { class: "stopped", role: "alert", hidden: true });
    this.wait = el("p", { class: "wait" }, "Loading the scene");
    this.home = el("button", { type: "button", class: "plain home", on: { click: () => this.view?.resetCamera() } }, "Reset view");
    this.over = el("div", { class: "over" }, el("div", { class: "badges" }, this.driver, this.recording, this.success), this.stopped);
    this.scene = el("div", { class: "scene" }, this.canvas, this.over, this.count, this.wait, this.home);
    this.cameras = new Cameras();
    this.strip = el("ul", { class: "strip", "aria-label": "Keys that drive the robot" });
    this.root = el("div", { class: "stage" }, this.scene, this.cameras.root, this.strip);
    this.caps = [];
    this.want = 0;
  }

  /** Loads the geometry anew; what was drawn before goes. */
  async load(address) {
    const wanted = ++this.want;
    show(this.wait, true);
    say(this.wait, "Loading the scene");
    try {
      const answer = await fetch(address, { cache: "no-store" });
      if (!answer.ok) throw new Error(`the studio answered ${answer.status}`);
      const bytes = await answer.arrayBuffer();
      if (wanted !== this.want) return;
      this.view ??= new SceneView(this.canvas, {});
      await this.view.load(bytes);
      this.view.resize();
      show(this.wait, false);
    } catch (error) {
      if (wanted === this.want) say(this.wait, `The scene cannot be drawn here: ${error.message}. Driving and recording work without it.`);
    }
  }

  /** Draws one picture where there is something to draw. */
  render() {
    this.view?.render();
  }

  /** The legend under the scene, from the bindings that the server tells: one entry a dimension, one key a direction. */
  bind(bindings) {
    this.caps = [];
    this.strip.replaceChildren();
    const dims = new Map();
    for (const binding of list(bindings).filter(record)) {
      const codes = list(binding.keys).filter((code) => typeof code === "string");
      if ((binding.device ?? "keyboard") !== "keyboard" || !codes.length) continue;
      const dim = number(binding.sign) ? binding.dim : codes[0];
      const cap = el("kbd", { title: codes.map(named).join(" or ") }, named(codes[0]));
      this.caps.push([cap, codes]);
      dims.set(dim, [...(dims.get(dim) ?? []), [cap, words(binding.label, 60)]]);
    }
    for (const entries of dims.values()) {
      this.strip.append(el("li", {}, ...entries.map(([cap]) => cap), el("span", {}, entries.map(([, label]) => label).join(" / "))));
    }
    this.pad = el("li", { class: "pad", hidden: true });
    this.strip.append(this.pad);
  }

  /** Lights the keys that are held, and names the gamepad. */
  hold(keys, pad) {
    for (const [cap, codes] of this.caps) cap.classList.toggle("down", codes.some((code) => keys.has(code)));
    if (!this.pad) return;
    show(this.pad, Boolean(pad));
    say(this.pad, pad ? `Gamepad: ${words(pad.name, 60)}` : "");
  }

  /** What the frame just drawn says of success. */
  frame(message) {
    show(this.success, message.success && (this.live ?? false));
    this.view?.setPoses(message.poses, message.sim * 1000);
  }

  update(state, controller) {
    this.live = ["running", "paused", "review", "asking"].includes(state?.phase);
    if (!this.live) show(this.success, false);
    const recording = records(state);
    const seconds = number(state?.seconds);
    show(this.recording, recording);
    say(this.recording.lastChild, `Recording${seconds === null ? "" : ` ${seconds.toFixed(1)} s`}`);
    const shared = ["correct", "watch", "label"].includes(state?.mode) && ["running", "paused", "asking"].includes(state?.phase);
    const policy = state?.driver === "policy";
    show(this.driver, shared && Boolean(state.driver));
    this.driver.classList.toggle("policy", policy);
    say(this.driver.lastChild, policy ? "Policy drives" : controller ? "You drive" : "Operator drives");
    this.root.dataset.ring = recording ? "record" : state?.phase === "countdown" || state?.phase === "ready" ? "ready" : "none";
    const left = number(state?.countdown);
    const counting = state?.phase === "countdown" && left !== null;
    show(this.count, counting);
    if (counting) say(this.count.firstChild, Math.max(1, Math.ceil(left)));
    const stopped = words(record(state?.robot)?.stopped);
    show(this.stopped, Boolean(stopped));
    say(this.stopped, stopped ? `The robot has stopped: ${stopped}` : "");
  }
}

/** Pictures of real or rendered cameras, each in a tile with its name. */
export class Cameras {
  constructor() {
    this.root = el("div", { class: "cameras", role: "group", "aria-label": "Cameras", hidden: true });
    this.tiles = new Map();
  }

  /** One tile for each camera. */
  name(cameras) {
    for (const tile of this.tiles.values()) this.revoke(tile);
    this.tiles.clear();
    this.root.replaceChildren();
    for (const camera of list(cameras).filter((name) => typeof name === "string").slice(0, 16)) {
      const image = el("img", { alt: `Camera ${camera}` });
      this.tiles.set(camera, { image, address: null, busy: false });
      this.root.append(el("figure", {}, image, el("figcaption", {}, camera)));
    }
    show(this.root, this.tiles.size > 0);
  }

  /** Shows the newest picture of a camera; one that comes while another is being decoded is left out. */
  async put({ camera, jpeg }) {
    const tile = this.tiles.get(camera);
    if (!tile || tile.busy) return;
    tile.busy = true;
    const address = URL.createObjectURL(new Blob([jpeg], { type: "image/jpeg" }));
    tile.image.src = address;
    await tile.image.decode().catch(() => {});
    this.revoke(tile);
    tile.address = address;
    tile.busy = false;
  }

  revoke(tile) {
    if (tile.address) URL.revokeObjectURL(tile.address);
    tile.address = null;
  }
}
