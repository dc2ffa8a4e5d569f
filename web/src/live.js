// The live view: the stage, the panel, and the operator's input, wired to the link.
import { el, list, number, say, show } from "./dom.js";
import { Facts, Last, Now, Settings } from "./hud.js";
import { Input } from "./input.js";
import { drivingKeys } from "./keys.js";
import { drives } from "./phases.js";
import { Doubt, Evaluation, Question, Shadow, Training } from "./policy.js";
import { Stage } from "./stage.js";
import { Sticks } from "./sticks.js";

/** Builds the live view in `root` and joins it to the link. `shown(visible)` says whether it is on screen. */
export function mountLive(root, link) {
  return new Live(root, link);
}

class Live {
  constructor(root, link) {
    this.link = link;
    this.state = null;
    this.hello = null;
    const give = (what, details, then) => this.give(what, details, then);
    this.stage = new Stage();
    this.now = new Now(give);
    this.facts = new Facts();
    this.settings = new Settings(give);
    this.last = new Last();
    this.evaluation = new Evaluation(give);
    this.parts = [new Doubt(give), new Shadow(), new Training(give), this.evaluation];
    this.question = new Question(give);
    this.seat = new Seat(link);
    this.input = new Input(link, { command: (name) => this.command(name), heard: () => this.stage.hold(this.input.keys, this.input.pad) }).attach();
    this.sticks = new Sticks((touch) => this.input.stick(touch), (code, down) => this.input.press(code, down));
    this.input.onRelease = () => this.sticks.release();
    const [doubt, shadow, training, evaluation] = this.parts.map((part) => part.root);
    this.panel = el("aside", { class: "panel", "aria-label": "Session" }, this.seat.root, this.now.root, this.question.root, doubt, shadow, evaluation, this.facts.root,
      this.settings.root, training, this.evaluation.form, this.last.root);
    root.replaceChildren(this.stage.root, this.panel, this.sticks.root);
    this.root = root;
    this.listen();
  }

  listen() {
    this.link.on("hello", (hello) => this.greet(hello)).on("state", (state) => this.update(state))
      .on("frame", (frame) => this.stage.frame(frame)).on("picture", (picture) => this.stage.cameras.put(picture))
      .on("status", ({ phase }) => { if (phase !== "open") this.update(null); });
    // A mouse click leaves its button with the focus; the next Space or Enter is meant for the robot, not for it.
    this.root.addEventListener("click", (event) => {
      if (event.detail && event.target.closest("button, [role=switch], input[type=radio], input[type=range]")) this.stage.canvas.focus({ preventScroll: true });
    });
    this.stage.canvas.addEventListener("pointerdown", () => this.stage.canvas.focus({ preventScroll: true }));
    addEventListener("touchstart", () => this.root.classList.add("fingers"), { once: true, passive: true });
    new ResizeObserver(() => this.stage.view?.resize()).observe(this.stage.scene);
    // What scrolls into view, as a field that is reached by Tab, stays clear of what stands over the panel.
    new ResizeObserver(() => this.panel.style.setProperty("--now", `${this.now.root.offsetHeight + 8}px`)).observe(this.now.root);
    const draw = () => {
      this.frame = requestAnimationFrame(draw);
      if (!this.root.hidden) this.stage.render();
    };
    draw();
  }

  greet(hello) {
    this.hello = hello;
    const driving = drivingKeys(hello.bindings);
    this.input.driving = driving;
    this.now.driving = driving;
    this.stage.bind(hello.bindings);
    this.sticks.bind(hello.bindings);
    this.stage.cameras.name(hello.cameras);
    // Where there is only data to look at, nothing is driven, and there is no scene.
    if (list(hello.modes).length) this.stage.load("scene.bin").then(() => { this.drags(); this.link.latency.clear(); }); // loading delayed what was measured
    this.controller = hello.viewer !== true;
    this.update(null);
  }

  /** Dragging the hand needs a hand in the scene, and somebody who has the controls. */
  drags() {
    const may = this.controller && this.state?.mode !== "watch" && list(this.hello?.bindings).some((one) => one?.device === "drag");
    if (may === this.dragging) return;
    this.dragging = may;
    this.stage.view?.onDrag(may ? (x, y, z) => this.input.drag(number(x) === null ? null : [x, y, z]) : null);
  }

  update(state) {
    const before = this.state?.phase;
    this.state = state;
    if (typeof state?.controller === "boolean") this.controller = state.controller;
    const controller = Boolean(state && this.controller);
    this.input.allow({ controller, held: drives(state) });
    if (state?.phase !== before && drives(state) && !drives({ phase: before })) this.begins();
    this.stage.update(state, controller);
    this.now.update(state, controller);
    this.facts.update(state);
    this.settings.offer(state?.modes ?? this.hello?.modes);
    this.settings.update(state, controller);
    this.last.update(state);
    this.question.update(state, this.hello, controller);
    for (const part of this.parts) part.update(state, controller);
    this.seat.update(state, controller);
    this.root.dataset.phase = state?.phase ?? "none";
    this.root.dataset.hands = String(controller && state.mode !== "watch"); // whether fingers have something to do
    show(this.facts.root, state !== null);
    if (this.stage.view) this.drags();
  }

  /** An episode begins: what matters now is at the top of the panel. */
  begins() {
    this.toStage();
    this.panel.scrollTop = 0;
  }

  /** The keys are the robot's from here on: no text field keeps them. */
  toStage() {
    const active = document.activeElement;
    if (active === document.body || active.matches("input, textarea, nav a")) this.stage.canvas.focus({ preventScroll: true });
  }

  give(what, details = {}, then = null) {
    if (!this.controller) return;
    this.link.do(what, details);
    if (then) this.link.do(then);
  }

  /** One of the page's own keys; whether it means something now. */
  command(name) {
    if (!this.controller || !this.state) return false;
    if (name === "slower" || name === "faster") { this.settings.step(name === "faster" ? 0.05 : -0.05); return true; }
    const phase = this.state.phase;
    if (name === "halt") { if (phase === "running") this.give("pause"); return phase === "running"; }
    if (name === "pause" && phase === "paused") { this.give("resume"); return true; }
    const action = this.now.byKey(name);
    if (!action) return false;
    this.give(action.what, {}, action.then);
    return true;
  }

  /** Whether the view is on screen, with nothing over it; keys drive only then. */
  shown(visible) {
    this.input.allow({ shown: visible });
    if (!visible) return;
    this.stage.view?.resize();
    this.toStage();
  }
}

/** Who has the controls, and the way to get them or give them up. */
class Seat {
  constructor(link) {
    this.text = el("p");
    this.take = el("button", { type: "button", class: "primary", on: { click: () => link.send({ t: "control" }) } }, "Take the controls");
    this.leave = el("button", { type: "button", class: "plain", on: { click: () => link.send({ t: "yield" }) } }, "Let somebody else drive");
    this.root = el("section", { class: "seat", "aria-label": "Controls", hidden: true }, this.text, this.take, this.leave);
  }

  update(state, controller) {
    const viewers = Math.max(0, (number(state?.viewers) ?? 1) - 1); // the server counts this page too
    show(this.root, state !== null && (!controller || viewers > 0));
    show(this.take, !controller);
    show(this.leave, controller);
    const others = viewers === 1 ? "One other person watches." : `${viewers} others watch.`;
    say(this.text, controller ? others : "You are watching. Somebody else has the controls.");
  }
}
