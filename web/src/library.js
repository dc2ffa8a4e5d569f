// The library's view: sources, the list of episodes, and the one that is open; edits with undo.
import { el, say, show } from "./dom.js";
import { LibraryApi } from "./library-api.js";
import { Detail } from "./library-detail.js";
import { EpisodeList } from "./library-list.js";
import { capital, title } from "./library-words.js";

const OFTEN = 1000; // ms between two looks while quality is being checked
const SELDOM = 3000; // ms between two looks for new recordings

/** Mounts the library into `root`; `api` is the address of its routes. Gives back { unmount }. */
export function mountLibrary(root, api = "api/data") {
  const view = new Library(root, new LibraryApi(api));
  view.begin();
  return { unmount: () => view.end() };
}

class Library {
  #timer = 0;
  #ended = false;
  #source = "";
  #sources = [];
  #working = false;

  constructor(root, api) {
    this.root = root;
    this.api = api;
    this.list = new EpisodeList(api, {
      onOpen: (index) => this.#open(index),
      onDelete: (index) => this.detail.remove(index),
      onNews: (head) => this.#news(head),
      onTrouble: (error) => this.#trouble(error),
    });
    this.detail = new Detail(api, { edit: (what, body) => this.#edit(what, body), onBack: () => this.#back(), onTrouble: (error) => this.#trouble(error) });
    this.source = el("select", { "aria-label": "What to look at", class: "lib-source", hidden: true });
    this.source.addEventListener("change", () => this.#go(this.source.value));
    this.rate = el("p", { class: "lib-rate" });
    this.whole = el("details", { class: "lib-whole", hidden: true });
    this.words = el("p", { class: "lib-words" });
    this.undo = el("button", { type: "button", class: "lib-undo", hidden: true, on: { click: () => this.#edit("undo", {}) } }, "Undo");
    this.dismiss = el("button", { type: "button", class: "lib-icon", "aria-label": "Dismiss", on: { click: () => this.#hush() } }, "✕");
    this.bar = el("div", { class: "lib-bar", role: "status", "aria-live": "polite", hidden: true }, this.words, this.undo, this.dismiss);
    this.empty = el("p", { class: "lib-empty" }, "Choose an episode: its scene, its curves and what to know about it appear here.");
    const side = el("div", { class: "lib-side" }, this.source, this.rate, this.whole, this.list.root);
    this.box = el("div", { class: "lib" }, side, el("div", { class: "lib-main" }, this.empty, this.detail.root), this.bar);
    root.replaceChildren(this.box);
  }

  async begin() {
    if (await this.#survey()) await this.#go(this.#sources[0].id);
    this.#wait();
  }

  end() {
    this.#ended = true;
    clearTimeout(this.#timer);
    this.list.dispose();
    this.detail.dispose();
    this.root.replaceChildren();
  }

  async #survey() {
    try {
      this.#sources = (await this.api.json("sources")).sources;
    } catch (error) {
      this.#trouble(error);
      return false;
    }
    this.source.replaceChildren(...this.#sources.map((s) => el("option", { value: s.id }, `${s.name} · ${s.kind} · ${s.episodes}`)));
    this.source.value = this.#source || this.#sources[0]?.id;
    show(this.source, this.#sources.length > 1);
    this.detail.offer(this.#sources);
    this.#rate();
    return this.#sources.length > 0;
  }

  async #go(source) {
    this.#source = source;
    this.source.value = source;
    this.detail.close();
    show(this.empty, true);
    this.box.classList.remove("lib-opened");
    this.#rate();
    await this.list.show(source);
  }

  #rate() {
    const rate = this.#sources.find((s) => s.id === this.#source)?.success;
    const percent = (x) => `${Math.round(100 * x)} %`;
    say(this.rate, rate ? `Success ${rate.successes} of ${rate.n}: ${percent(rate.value)} (95 %: ${percent(rate.low)} to ${percent(rate.high)})` : "");
  }

  async #open(index, options) {
    show(this.empty, false);
    this.box.classList.add("lib-opened");
    this.list.choose(index);
    await this.detail.open(this.#source, index, options);
    if (options?.fresh !== false) this.detail.title.focus({ preventScroll: true });
  }

  #back() {
    this.box.classList.remove("lib-opened");
    this.list.focus();
  }

  #news(head) {
    this.detail.allow(head.editable, head.busy);
    const findings = head.whole.map((f) => el("li", { class: `lib-flag-${f.severity}` }, el("b", {}, title(f.kind)), ` ${f.text}. `, el("em", {}, `${f.advice}.`)));
    const trouble = head.trouble ? [el("li", { class: "lib-flag-error" }, head.trouble)] : [];
    this.whole.replaceChildren(el("summary", {}, `About the whole set (${findings.length + trouble.length})`), el("ul", {}, ...trouble, ...findings));
    show(this.whole, findings.length + trouble.length > 0);
    show(this.undo, head.undo !== null);
    if (head.undo !== null && this.bar.hidden && head.undo !== this.hushed) this.#tell(`${capital(head.undo)}.`);
    this.#follow(head);
  }

  /** The folder has changed behind the open episode's back: it stays where it is still the same one. */
  async #follow(head) {
    if (this.#working || !this.detail.episode) return;
    const same = await this.detail.again(head.version);
    if (same || this.#working) return;
    const { index } = this.detail.episode;
    this.detail.close();
    show(this.empty, true);
    this.list.choose(null);
    this.box.classList.remove("lib-opened");
    this.#tell(`The dataset was changed elsewhere, and episode ${index} is another one now.`, true);
  }

  async #edit(what, body) {
    if (this.#working) return;
    this.#working = true;
    this.#tell("Saving…");
    try {
      // What the user saw is what is edited: the open episode's version, or the list's.
      const version = what !== "undo" && this.#about(body) ? this.detail.episode.version : this.list.head.version;
      const done = await this.api.edit(what, { source: this.#source, version, ...body });
      await this.#after(what, body);
      const kept = done.kept ? ` The dataset before is kept as ${done.kept}.` : "";
      this.#tell(`${capital(done.words)}.${kept}`);
    } catch (error) {
      await this.list.refresh();
      this.#trouble(error);
    } finally {
      this.#working = false;
    }
  }

  #about(body) {
    const open = this.detail.episode?.index;
    return open !== undefined && (body.episode === open || body.episodes?.[0] === open);
  }

  /** Looks again after an edit: the open episode stays open where it is still there. */
  async #after(what, body) {
    const open = this.detail.episode?.index ?? null;
    await Promise.all([this.list.refresh(), this.#survey()]);
    if (open === null) return;
    const gone = what === "delete" && body.episodes.includes(open);
    if (gone || open >= this.list.head.total) {
      this.detail.close();
      this.list.choose(null);
      show(this.empty, true);
      this.#back();
      return;
    }
    const before = what === "delete" ? body.episodes.filter((i) => i < open).length : 0;
    await this.#open(open - before, { fresh: false });
  }

  #hush() {
    this.hushed = this.list.head?.undo;
    this.#tell("");
  }

  #tell(text, bad = false) {
    say(this.words, text);
    this.bar.classList.toggle("lib-bad", bad);
    show(this.bar, text !== "");
  }

  #trouble(error) {
    if (error.name === "AbortError") return;
    this.#tell(error.message, true);
  }

  #wait() {
    if (this.#ended) return;
    this.#timer = setTimeout(async () => {
      const hidden = document.hidden || this.root.hidden;
      if (hidden) this.detail.pause();
      else if (!this.#working) {
        const total = this.list.head?.total;
        if (!this.#sources.length) (await this.#survey()) && (await this.#go(this.#sources[0].id));
        else await this.list.refresh();
        if (this.list.head?.total !== total && total !== undefined) await this.#survey();
      }
      this.#wait();
    }, this.list.head?.measuring ? OFTEN : SELDOM);
  }
}
