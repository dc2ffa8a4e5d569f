// The WebSocket to the server: messages both ways, the delay between them, and coming back after it was lost.
import { Latency, VERSION, decode } from "./wire.js";

const WAITS = [250, 500, 1000, 2000, 4000];
const SILENT = 3000; // the server says its state at least every 500 ms
const PING = 2000;

/** The link to the server. `on(event, act)`: "status", "hello", "state", "frame", "picture". */
export class Link {
  constructor(address, { socket = (at) => new WebSocket(at), knock = knocks } = {}) {
    this.address = address;
    this.open = socket;
    this.knock = knock;
    this.acts = new Map();
    this.latency = new Latency();
    this.seq = 0;
    this.tries = 0;
    this.status = { phase: "connecting", reason: "" };
    this.hello = null;
    this.state = null;
  }

  /** Calls `act` with every message of this kind. */
  on(event, act) {
    if (!this.acts.has(event)) this.acts.set(event, []);
    this.acts.get(event).push(act);
    return this;
  }

  tell(event, value) {
    for (const act of this.acts.get(event) ?? []) act(value);
  }

  turn(phase, reason = "") {
    this.status = { phase, reason };
    this.tell("status", this.status);
  }

  /** Opens the socket; from then on it is opened again whenever it is lost. */
  connect() {
    clearTimeout(this.again);
    const socket = this.open(this.address);
    socket.binaryType = "arraybuffer";
    this.socket = socket;
    this.heard = performance.now();
    socket.addEventListener("message", (event) => this.socket === socket && this.take(event.data));
    socket.addEventListener("close", (event) => this.socket === socket && this.lost(event));
    clearInterval(this.pulse);
    this.pulse = setInterval(() => this.beat(), PING);
  }

  /** Tries now, without waiting for the next time. */
  retry() {
    if (this.status.phase === "open") return;
    this.drop();
    this.connect();
  }

  drop() {
    const old = this.socket;
    this.socket = null;
    clearInterval(this.pulse);
    clearTimeout(this.again);
    if (old && old.readyState < 2) old.close();
  }

  beat() {
    if (performance.now() - this.heard > SILENT) {
      this.drop();
      return void this.lost({ reason: "" });
    }
    if (this.status.phase === "open") this.send({ t: "ping", at: performance.now() });
  }

  async lost({ reason }) {
    clearInterval(this.pulse);
    this.socket = null;
    this.latency.clear();
    this.state = null;
    const wait = WAITS[Math.min(this.tries++, WAITS.length - 1)];
    this.turn("lost", reason || (this.status.phase === "lost" ? this.status.reason : ""));
    this.again = setTimeout(() => this.connect(), wait * (0.8 + 0.4 * Math.random()));
    const why = await this.knock();
    if (this.status.phase === "lost" && why) this.turn("lost", reason || why);
  }

  take(data) {
    this.heard = performance.now();
    if (typeof data === "string") return void this.read(data);
    let message;
    try { message = decode(data); } catch (error) { return void console.warn(`A message was left out: ${error.message}`); }
    if (message.kind === "picture") return void this.tell("picture", message);
    this.latency.acknowledge(message.ack, this.heard);
    this.tell("frame", message);
  }

  read(text) {
    let message;
    try { message = JSON.parse(text); } catch { return void console.warn("A message was left out: it is not JSON"); }
    if (message?.t === "hello") this.greet(message);
    else if (message?.t === "state") { this.state = message; this.tell("state", message); }
  }

  greet(hello) {
    this.tries = 0;
    if (hello.version !== VERSION) {
      this.drop();
      return void this.turn("stranger", `The studio speaks version ${hello.version} of the messages, this page version ${VERSION}.`);
    }
    this.hello = hello;
    this.turn("open");
    this.tell("hello", hello);
  }

  /** Sends one message where there is a link; says whether it left. */
  send(message) {
    if (!this.socket || this.socket.readyState !== 1) return false;
    this.socket.send(JSON.stringify(message));
    return true;
  }

  /** Gives the session a command word. */
  do(what, details = {}) {
    return this.send({ t: "do", what, ...details });
  }

  /** Sends what the operator does now; returns its number. */
  input(input) {
    const seq = this.seq + 1;
    if (this.send({ t: "in", seq, ...input })) {
      this.seq = seq;
      this.latency.send(seq, performance.now());
    }
    return this.seq;
  }
}

/** Why the socket does not open, found by asking for the page itself; "" where that does not tell. */
export async function knocks() {
  try {
    const answer = await fetch("scene.bin", { method: "HEAD", cache: "no-store" });
    if (answer.status === 401 || answer.status === 403) return "The studio does not know this page any more. Open the address that it printed when it started.";
    return "";
  } catch {
    return "The studio does not answer. Look at the terminal that it runs in.";
  }
}
