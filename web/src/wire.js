// The messages between page and server, as bytes and numbers. Nothing here touches the page.

/** The version of the messages that this page speaks. */
export const VERSION = 1;
const HEAD = 32;
const POSES = 1, RESET = 2, PICTURE = 3;
const SUCCESS = 1, OPERATOR = 2, RECORDING = 4;

/**
 * One binary message: {kind: "poses", reset, success, operator, recording, frame, episode, ack, sim, server, poses [n*7]}
 * or {kind: "picture", camera, frame, jpeg}. RangeError for bytes that are neither.
 */
export function decode(buffer) {
  if (buffer.byteLength < HEAD) throw new RangeError(`a message of ${buffer.byteLength} bytes is shorter than its head of ${HEAD}`);
  const view = new DataView(buffer);
  const type = view.getUint8(0), flags = view.getUint8(1), n = view.getUint16(2, true);
  const common = { frame: view.getUint32(4, true), episode: view.getUint32(8, true), ack: view.getUint32(12, true) };
  if (type === PICTURE) {
    if (HEAD + n > buffer.byteLength) throw new RangeError(`a camera's name of ${n} bytes does not fit in ${buffer.byteLength}`);
    const camera = new TextDecoder().decode(new Uint8Array(buffer, HEAD, n));
    return { kind: "picture", ...common, camera, jpeg: new Uint8Array(buffer, HEAD + n) };
  }
  if (type !== POSES && type !== RESET) throw new RangeError(`no message is of type ${type}`);
  if (buffer.byteLength !== HEAD + n * 28) throw new RangeError(`${n} poses do not fill ${buffer.byteLength} bytes`);
  return {
    kind: "poses", ...common, reset: type === RESET,
    success: Boolean(flags & SUCCESS), operator: Boolean(flags & OPERATOR), recording: Boolean(flags & RECORDING),
    sim: view.getFloat64(16, true), server: view.getFloat64(24, true), poses: new Float32Array(buffer, HEAD, n * 7),
  };
}

/** Times from an input sent to the frame that used it: the newest `size` of them. */
export class Latency {
  constructor(size = 120) {
    this.size = size;
    this.sent = new Map();
    this.last = 0;
    this.times = [];
  }

  /** Input `seq` left the page at `now` (ms). */
  send(seq, now) {
    this.sent.set(seq, now);
    if (this.sent.size > 256) this.sent.delete(this.sent.keys().next().value);
  }

  /** A frame came at `now` (ms) that used input `ack`; only the first frame of an input is measured. */
  acknowledge(ack, now) {
    if (ack === this.last) return;
    this.last = ack;
    const then = this.sent.get(ack);
    if (then === undefined) return;
    for (const seq of this.sent.keys()) if (seq <= ack) this.sent.delete(seq);
    this.times.push(now - then);
    if (this.times.length > this.size) this.times.shift();
  }

  /** {median, p95} in milliseconds, or null before the first. */
  summary() {
    if (!this.times.length) return null;
    const sorted = [...this.times].sort((a, b) => a - b);
    const at = (share) => sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))];
    return { median: at(0.5), p95: at(0.95) };
  }

  /** Forgets what was measured over a link that is no more. */
  clear() {
    this.sent.clear();
    this.times = [];
    this.last = 0;
  }
}
