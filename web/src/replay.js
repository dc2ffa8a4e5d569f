// The 3-D replay inside a report: episodes from the page's own JSON, played, scrubbed and turned. It loads nothing.
import { SceneView, between } from "./scene.js";
import { clips, inflated } from "./replay-clips.js";

const MOVE = 10; // control steps that PageUp and PageDown skip

/** One replay: a figure of the page, its controls, and the scene once it comes into sight. */
class Replay {
  constructor(root) {
    this.root = root;
    const find = (name) => root.querySelector(name);
    this.canvas = find("canvas");
    this.wait = find(".wait");
    this.slider = find("input[type=range]");
    this.clock = find("output");
    this.play = find(".play");
    this.choice = find(".episode");
    this.speed = find(".speed");
    this.beside = find(".ghost");
    this.time = 0;
    this.playing = false;
    root.replay = this;
    this.listen();
    this.wait.textContent = "Loading the scene";
    // Drawing contexts are few, and unpacking takes a moment: both wait until somebody looks.
    const seen = new IntersectionObserver((entries) => {
      if (!entries.some((entry) => entry.isIntersecting)) return;
      seen.disconnect();
      this.ready = this.load().catch((error) => this.fail(error));
    }, { rootMargin: "200px" });
    seen.observe(root);
  }

  listen() {
    this.slider.addEventListener("input", () => { this.stop(); this.seek(+this.slider.value); });
    this.slider.addEventListener("keydown", (event) => {
      const by = { PageUp: MOVE, PageDown: -MOVE }[event.code];
      if (!by) return;
      event.preventDefault();
      this.stop();
      this.seek(this.time + by);
    });
    this.play.addEventListener("click", () => (this.playing ? this.stop() : this.start()));
    this.choice.addEventListener("change", () => this.pick(+this.choice.value));
    this.beside?.addEventListener("change", () => this.show());
    this.root.querySelector(".reset").addEventListener("click", () => { this.view?.resetCamera(); this.draw(); });
    this.canvas.addEventListener("keydown", (event) => {
      if (event.code !== "Space" || event.shiftKey || event.ctrlKey || event.altKey || event.metaKey) return;
      event.preventDefault();
      this.play.click();
    });
  }

  async load() {
    if (typeof DecompressionStream === "undefined") throw new Error("this browser cannot unpack it");
    const block = (id) => JSON.parse(document.getElementById(id).textContent);
    const spec = block(this.root.dataset.replay);
    this.fps = spec.fps;
    const [geometry, data] = await Promise.all([inflated(block(spec.scene)), inflated(spec.data)]);
    this.episodes = clips(spec, data);
    this.view = new SceneView(this.canvas);
    await this.view.load(geometry);
    this.canvas.style.touchAction = "pan-y"; // a finger that moves up or down scrolls the page
    this.view.orbit.enableZoom = false; // a page that scrolls must not get stuck in a picture
    this.canvas.addEventListener("pointerdown", () => { this.view.orbit.enableZoom = true; });
    this.canvas.addEventListener("pointerleave", () => { this.view.orbit.enableZoom = false; });
    this.view.resize();
    new ResizeObserver(() => { this.view.resize(); this.draw(); }).observe(this.canvas);
    this.view.orbit.addEventListener("change", () => this.draw());
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.draw());
    this.canvas.addEventListener("webglcontextrestored", () => this.draw());
    this.wait.textContent = "";
    this.pick(0);
  }

  fail(error) {
    this.stop();
    for (const control of this.root.querySelectorAll("button, input, select")) control.disabled = true;
    this.wait.textContent = `The 3-D replay cannot be shown: ${error.message}.`;
  }

  pick(index) {
    if (!this.episodes) return;
    [this.policy, this.expert] = this.episodes[index];
    this.slider.max = this.longest = Math.max(1, this.policy.steps);
    this.stop();
    this.seek(0);
  }

  seek(step) {
    if (!this.policy) return;
    this.time = Math.min(Math.max(step, 0), this.longest);
    this.slider.value = Math.round(this.time);
    const over = this.time >= this.policy.steps ? `, ${this.policy.outcome}` : "";
    this.clock.textContent = `step ${Math.round(this.time)} of ${this.policy.steps}${over}`;
    this.slider.setAttribute("aria-valuetext", this.clock.textContent);
    this.show();
  }

  show() {
    if (!this.policy) return;
    this.view.setPoses(at(this.policy, this.time));
    if (this.beside) this.beside.disabled = !this.expert;
    this.view.ghost(this.beside?.checked && this.expert ? at(this.expert, this.time) : null);
    this.draw();
  }

  start() {
    if (!this.policy) return;
    if (this.time >= this.longest) this.seek(0);
    this.playing = true;
    this.play.textContent = "Pause";
    let last = performance.now();
    const tick = (now) => {
      if (!this.playing) return;
      this.seek(this.time + ((now - last) / 1000) * this.fps * +this.speed.value);
      last = now;
      if (this.time >= this.longest) this.stop(); else requestAnimationFrame(tick);
    };
    requestAnimationFrame(tick);
  }

  stop() {
    this.playing = false;
    this.play.textContent = "Play";
  }

  // Draws until nothing changes any more: a picture that stands still costs nothing.
  draw() {
    if (this.drawing) return;
    this.drawing = true;
    const tick = () => {
      this.view.render();
      this.drawing = !this.view.settled;
      if (this.drawing) requestAnimationFrame(tick);
    };
    requestAnimationFrame(tick);
  }
}

// The poses of a clip at a step, which may lie between two of its frames; past its end it stays as it ended.
function at(clip, step) {
  const place = Math.min(step / Math.max(clip.steps, 1), 1) * (clip.frames.length - 1);
  const whole = Math.floor(place), share = place - whole;
  return share ? between(clip.frames[whole], clip.frames[whole + 1], share) : clip.frames[whole];
}

document.documentElement.classList.add("js");
for (const figure of document.querySelectorAll("figure[data-replay]")) new Replay(figure);
