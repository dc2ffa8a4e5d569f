// What the library asks of the server: JSON, poses, geometry, pictures. An error is one line in words.

/** An answer that says no: `status` as HTTP has it, `message` in words. */
export class Refused extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

/** The routes below /api/data; every call takes an AbortSignal or nothing. */
export class LibraryApi {
  constructor(base = "api/data") {
    this.base = base;
  }

  /** The address of a route with its query. */
  url(path, query = {}) {
    const said = Object.entries(query).filter(([, value]) => value !== "" && value !== null && value !== undefined);
    return `${this.base}/${path}?${new URLSearchParams(said)}`;
  }

  async json(path, query, signal) {
    return (await this.#ask(this.url(path, query), { signal })).json();
  }

  async bytes(path, query, signal) {
    const answer = await this.#ask(this.url(path, query), { signal });
    return { bytes: await answer.arrayBuffer(), headers: answer.headers };
  }

  async edit(what, body) {
    const headers = { "Content-Type": "application/json" };
    return (await this.#ask(`${this.base}/${what}`, { method: "POST", headers, body: JSON.stringify(body) })).json();
  }

  /** An episode's poses: { frames, bodies, poses: Float32Array, deviation, faithful }. */
  async poses(query, signal) {
    const { bytes, headers } = await this.bytes("poses.bin", query, signal);
    const head = new DataView(bytes);
    const frames = head.getUint32(0, true);
    const bodies = head.getUint32(4, true);
    if (bytes.byteLength !== 8 + frames * bodies * 28) throw new Refused(500, "the poses came incomplete");
    const deviation = Number(headers.get("X-Deviation"));
    return { frames, bodies, poses: new Float32Array(bytes, 8), deviation, faithful: headers.get("X-Faithful") === "1" };
  }

  async #ask(url, options) {
    let answer;
    try {
      answer = await fetch(url, { credentials: "same-origin", ...options });
    } catch (error) {
      if (error.name === "AbortError") throw error;
      throw new Refused(0, "The studio does not answer. Is it still running?");
    }
    if (answer.ok) return answer;
    let message = `The studio refused (${answer.status}).`;
    try {
      message = String((await answer.json()).error);
    } catch {
      // no JSON: the status says what there is to say
    }
    throw new Refused(answer.status, message);
  }
}
