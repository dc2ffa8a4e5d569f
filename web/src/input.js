// What the operator does, from keyboard, gamepad, pointer and touch, sent to the server as one message.
import { typing } from "./dom.js";
import { COMMANDS } from "./keys.js";
import { readPad } from "./pad.js";

const PERIOD = 1000 / 30;
const MOST = 16; // keys down at once that a message may hold
const PRESSED = new Set(["Enter", "NumpadEnter", "Space"]);

/** Reads the operator's devices. `command(name)` is called for the page's own keys, `heard()` where what is held changed. */
export class Input {
  constructor(link, { command, heard = () => {} }) {
    this.link = link;
    this.command = command;
    this.heard = heard;
    this.keys = new Set();
    this.driving = new Set();
    this.target = null;
    this.touch = [0, 0, 0, 0];
    this.pad = null;
    this.controller = false; // whether this page has the controls
    this.held = false; // whether keys belong to the robot now
    this.shown = true; // whether the live view is on screen and no dialog is over it
    this.focused = true;
    this.sending = false;
  }

  /** Listens from now on. */
  attach() {
    addEventListener("keydown", (event) => this.down(event), true);
    addEventListener("keyup", (event) => this.up(event), true);
    addEventListener("focusin", (event) => typing(event.target) && this.release(), true);
    addEventListener("blur", (event) => { if (event.target === window) { this.focused = false; this.release(); } });
    addEventListener("focus", (event) => { if (event.target === window) this.focused = true; });
    addEventListener("pagehide", () => this.release());
    document.addEventListener("visibilitychange", () => { if (document.hidden) this.release(); this.turn(); });
    this.clock = setInterval(() => this.tick(), PERIOD);
    return this;
  }

  /** Says who drives and what is on screen; letting go of the controls lets go of every key. */
  allow({ controller = this.controller, held = this.held, shown = this.shown }) {
    this.controller = controller;
    this.held = held;
    this.shown = shown;
    this.turn();
  }

  turn() {
    const sending = this.controller && this.shown && !document.hidden;
    if (this.sending && !sending) { this.release(); this.send(); }
    this.sending = sending;
  }

  /** Lets go of everything that is held, and says so at once. */
  release() {
    const held = this.keys.size || this.target || this.touch.some(Boolean) || this.pad;
    this.keys.clear();
    this.target = null;
    this.touch = [0, 0, 0, 0];
    this.pad = null;
    this.onRelease?.();
    this.heard();
    if (held && this.sending) this.send();
  }

  down(event) {
    if (!this.shown || event.isComposing || typing(event.target)) return;
    if (event.key === "Meta") return void this.release(); // with it held, no keyup of other keys is told
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.shiftKey && event.code.startsWith("Arrow")) return; // they turn the picture
    const drives = this.driving.has(event.code);
    const control = event.target.closest?.("button, a, input, select, summary, [role=slider]");
    if (drives && (this.held || !control)) {
      event.preventDefault(); // neither scrolls nor presses the button that happens to have focus
      event.stopPropagation();
    }
    if (drives) {
      if (!event.repeat && this.controller && !this.keys.has(event.code)) { this.keys.add(event.code); this.changed(); }
      return;
    }
    const name = COMMANDS[event.code];
    if (!name || event.repeat || event.shiftKey || (control && PRESSED.has(event.code))) return;
    if (this.command(name)) event.preventDefault();
  }

  up(event) {
    if (!this.driving.has(event.code)) return;
    if (this.held && this.shown && !typing(event.target)) {
      event.preventDefault(); // some browsers press a focused button when Space comes up
      event.stopPropagation();
    }
    if (this.keys.delete(event.code)) this.changed();
  }

  changed() {
    this.heard();
    if (this.sending) this.send();
  }

  /** Where the hand shall go, in scene coordinates; null when it is let go. */
  drag(target) {
    const ended = this.target !== null && target === null;
    this.target = target && target.map((value) => Math.round(value * 1e5) / 1e5);
    if (ended && this.sending) this.send();
  }

  /** What the sticks on the screen say: right, up, raise and grip in [-1, 1]. */
  stick(touch) {
    const ended = this.touch.some(Boolean) && !touch.some(Boolean);
    this.touch = touch;
    if (ended && this.sending) this.send();
  }

  /** A key that a finger holds on the screen instead of on a keyboard. */
  press(code, down) {
    if (down && this.controller) this.keys.add(code);
    else this.keys.delete(code);
    this.changed();
  }

  tick() {
    const before = this.pad?.name;
    this.pad = this.sending && this.focused ? readPad() : null;
    if (this.pad?.name !== before) this.heard();
    if (this.sending) this.send();
  }

  send() {
    this.link.input({
      keys: [...this.keys].slice(0, MOST), axes: this.pad?.axes ?? [], buttons: this.pad?.buttons ?? [],
      target: this.target, touch: this.touch.some(Boolean) ? this.touch : [],
    });
  }
}
