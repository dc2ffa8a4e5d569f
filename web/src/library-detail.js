// One episode: its scene, cameras, curves and flags in step with one scrubber, and what can be changed of it.
import { el, say, show, typing } from "./dom.js";
import { LabelForm, TrimForm, ask } from "./library-forms.js";
import { Player } from "./library-player.js";
import { Stage } from "./library-stage.js";
import { many, outcome, seconds, title, value } from "./library-words.js";
import { Timeline } from "./timeline.js";

const BINS = 600;
const KEYS = [
  [["←", "→"], "a step back or on; with Shift, on the curves, ten"],
  [["Home", "End"], "to the start, to the end"],
  [["Space"], "play and pause"],
  [["Delete"], "delete this episode, after asking"],
  [["Esc"], "back to the list, where arrows choose and Enter opens"],
  [["Shift", "arrows"], "on the scene: turn it"],
];
const SETTLE = 120; // ms that the scrubber rests before exact values are fetched

/** The detail. `edit(what, body)` does an edit, `onBack()` closes, `onTrouble(error)` hears of errors. */
export class Detail {
  #turn = 0;
  #episode = null;
  #other = null;
  #sources = [];
  #timer = 0;
  #data = null;

  constructor(api, { edit, onBack, onTrouble }) {
    Object.assign(this, { api, edit, onTrouble });
    this.stage = new Stage(api);
    this.timeline = new Timeline({ onStep: (step) => this.#moved(step, false), onTrim: (a, b) => this.trim.set(a, b) });
    this.player = new Player((step, playing) => this.#moved(step, playing));
    this.trim = new TrimForm({ here: () => Math.round(this.player.step), onWindow: (w) => this.timeline.setTrim(w), apply: (w) => this.#edit("trim", { episode: this.#episode.index, ...w }) });
    this.label = new LabelForm({ apply: (facts) => this.#edit("relabel", { episodes: [this.#episode.index], facts }) });
    const act = (text, click, kind = "") => el("button", { type: "button", class: kind, on: { click } }, text);
    this.back = act("‹ Episodes", onBack, "lib-back");
    this.title = el("h2", { tabindex: "-1" });
    this.about = el("p", { class: "lib-about" });
    this.text = el("p", { class: "lib-instruction" });
    this.trimButton = act("Trim…", () => this.#open(this.trim));
    this.labelButton = act("Relabel…", () => this.#open(this.label));
    this.deleteButton = act("Delete…", () => this.remove(), "lib-grave-plain");
    this.tools = el("div", { class: "lib-tools", role: "group", "aria-label": "Change this episode" }, this.trimButton, this.labelButton, this.deleteButton);
    this.fixed = el("p", { class: "lib-hint" });
    this.beside = el("select", { "aria-label": "Compare with" });
    this.number = el("input", { type: "number", min: 0, step: 1, "aria-label": "Episode to compare with", hidden: true });
    this.compared = el("p", { class: "lib-hint", role: "status" });
    this.beside.addEventListener("change", () => this.#compare());
    this.number.addEventListener("change", () => this.#compare(Number(this.number.value)));
    this.comparing = el("div", { class: "lib-compare", role: "group", "aria-label": "Compare" }, el("span", {}, "Compare with"), this.beside, this.number, this.compared);
    this.flags = el("ul", { class: "lib-flags", "aria-label": "Quality" });
    this.facts = el("dl", { class: "lib-facts" });
    this.root = el(
      "section",
      { class: "lib-detail", "aria-label": "Episode", hidden: true },
      el("header", { class: "lib-head" }, this.back, el("div", { class: "lib-headline" }, this.title, this.about, this.text), this.tools),
      this.fixed, this.trim.root, this.label.root, this.flags, el("div", { class: "lib-watch" }, this.stage.root, this.player.root), this.comparing, this.timeline.root,
      el("details", { class: "lib-more" }, el("summary", {}, "Facts"), this.facts),
      el("details", { class: "lib-more" }, el("summary", {}, "Keys"), el("dl", { class: "lib-facts" }, ...KEYS.flatMap(([keys, does]) => [el("dt", {}, ...keys.map((k) => el("kbd", {}, k))), el("dd", {}, does)])))
    );
    this.root.addEventListener("keydown", (e) => this.#keys(e));
  }

  /** Opens an episode of a source; `fresh` puts the scrubber at its start. */
  async open(source, index, { fresh = true } = {}) {
    const turn = ++this.#turn;
    this.player.pause();
    const query = { source, episode: index };
    try {
      const [episode, data] = await Promise.all([this.api.json("episode", query), this.api.json("timeline", { ...query, bins: BINS })]);
      if (turn !== this.#turn) return;
      this.#episode = episode;
      this.#data = data;
      this.#other = null;
      this.#say(episode);
      this.player.load(episode.steps, episode.rate);
      this.trim.load(episode.steps);
      this.label.load(episode);
      this.timeline.load(data);
      show(this.root, true);
      this.#offer(episode);
      this.player.note(fresh ? 0 : Math.min(this.player.step, episode.steps));
      this.stage.show(query, episode.cameras);
      this.#moved(this.player.step, false);
      this.timeline.setStep(this.player.step);
    } catch (error) {
      if (turn === this.#turn) this.onTrouble(error);
    }
  }

  /** Looks again, for flags that came later and for a folder that has grown; whether it is still this episode. */
  async again(version) {
    const before = this.#episode;
    if (!before || (before.version === version && !before.measuring)) return true;
    let now;
    try {
      now = await this.api.json("episode", { source: before.source, episode: before.index });
    } catch (error) {
      return error.status !== 404;
    }
    if (this.#episode !== before) return true;
    // In some layouts the outcome is in the data itself, and is known only with the flags.
    const told = ({ facts, steps, success, labelled }) => JSON.stringify([facts, steps, labelled, before.success === null ? null : success]);
    if (told(now) !== told(before)) return false;
    this.#episode = now;
    this.#say(now);
    if (this.label.root.hidden) this.label.load(now);
    return true;
  }

  get episode() {
    return this.#episode;
  }

  /** What other sources there are, to compare with. */
  offer(sources) {
    this.#sources = sources;
  }

  close() {
    this.#turn += 1;
    this.#episode = null;
    this.player.pause();
    show(this.root, false);
  }

  pause() {
    this.player.pause();
  }

  /** Whether anything may be changed, and why not. */
  allow(editable, busy) {
    const free = editable && !busy;
    for (const button of [this.trimButton, this.labelButton, this.deleteButton]) button.disabled = !free;
    show(this.tools, editable);
    say(this.fixed, editable ? busy : "These episodes can be looked at only: what was measured on them, or learned from them, must stay.");
    show(this.fixed, !free);
  }

  /** Asks, then deletes; `index` is the open episode unless it is given. */
  async remove(index = this.#episode?.index) {
    if (index === undefined || this.deleteButton.disabled) return;
    const yes = await ask(this.root.parentElement, {
      title: `Delete episode ${index}?`,
      text: "The episodes behind it are numbered anew. The dataset as it is now is kept beside it, and Undo goes back to it.",
      yes: "Delete",
    });
    if (yes) await this.#edit("delete", { episodes: [index] });
  }

  dispose() {
    this.close();
    clearTimeout(this.#timer);
    this.stage.dispose();
    this.timeline.dispose();
  }

  async #edit(what, body) {
    const lock = (shut) => this.root.querySelectorAll(".lib-form button").forEach((button) => { button.disabled = shut; });
    lock(true);
    await this.edit(what, body);
    lock(false);
  }

  #open(form) {
    for (const other of [this.trim, this.label]) other.open(other === form && form.root.hidden);
  }

  #moved(step, playing) {
    if (!this.#episode) return;
    this.stage.at(step);
    this.timeline.setStep(step);
    if (!playing) {
      this.player.pause();
      this.player.note(step);
    }
    clearTimeout(this.#timer);
    if (playing) return;
    const { source, index } = this.#episode;
    const turn = this.#turn;
    this.#timer = setTimeout(async () => {
      const whole = Math.round(step);
      const said = await this.api.json("step", { source, episode: index, step: whole }).catch(() => null);
      if (said && turn === this.#turn && Math.round(this.player.step) === whole && !this.player.playing) this.timeline.setExact(said);
    }, SETTLE);
  }

  #say(episode) {
    const { word, kind } = outcome(episode.success);
    say(this.title, `Episode ${episode.index}`);
    const parts = [many(episode.steps, "step"), seconds(episode.seconds), episode.operator, episode.task].filter(Boolean);
    if (episode.takeovers !== null) parts.push(many(episode.takeovers, "takeover"));
    this.about.replaceChildren(el("b", { class: `lib-word lib-${kind}` }, word), ` · ${parts.join(" · ")}`);
    say(this.text, episode.instruction || episode.summary);
    this.#flag(episode);
    const facts = { ...episode.facts, return: value(episode.return), ended: episode.terminated ? "by the task" : "by a limit or the operator" };
    this.facts.replaceChildren(...Object.entries(facts).flatMap(([k, v]) => [el("dt", {}, k), el("dd", {}, v)]));
  }

  #flag(episode) {
    const words = { error: "Error", warning: "Warning", info: "Note" };
    const rows = episode.flags.map((f) =>
      el("li", { class: `lib-flag-${f.severity}` }, el("b", {}, `${words[f.severity]}: ${title(f.kind)}`), el("span", {}, `${f.text}.`), el("em", {}, `${f.advice}.`))
    );
    if (episode.measuring) rows.push(el("li", { class: "lib-flag-wait" }, el("span", {}, "Checking its quality…")));
    this.flags.replaceChildren(...rows);
    show(this.flags, rows.length > 0);
  }

  #offer(episode) {
    this.beside.replaceChildren(el("option", { value: "" }, "nothing"), ...this.#sources.filter((s) => s.episodes > 0).map((s) => el("option", { value: s.id }, s.id === episode.source ? `${s.name} (the same)` : s.name)));
    this.beside.value = "";
    show(this.number, false);
    say(this.compared, "");
  }

  async #compare(index = null) {
    const other = this.beside.value;
    const { source, index: mine, cameras } = this.#episode;
    const turn = ++this.#turn;
    const query = { source, episode: mine };
    show(this.number, other !== "");
    try {
      if (!other) {
        this.#other = null;
        say(this.compared, "");
      } else {
        const pair = index === null ? await this.api.json("pair", { ...query, other }) : { index, same_start: null };
        const [about, data] = await Promise.all([this.api.json("episode", { source: other, episode: pair.index }), this.api.json("timeline", { source: other, episode: pair.index, bins: BINS })]);
        if (turn !== this.#turn) return;
        this.#other = { source: other, episode: pair.index, data };
        this.number.value = pair.index;
        const same = about.task === this.#episode.task && about.seed !== null && about.seed === this.#episode.seed;
        say(this.compared, `Dashed and see-through: ${outcome(about.success).word.toLowerCase()}, ${many(about.steps, "step")}. ${same ? "Both began in the same state." : "They began in different states."}`);
      }
      if (turn !== this.#turn) return;
      this.timeline.load(this.#data, this.#other?.data ?? null);
      this.stage.show(query, cameras, this.#other && { source: this.#other.source, episode: this.#other.episode });
    } catch (error) {
      if (turn === this.#turn) say(this.compared, error.message);
    }
  }

  #keys(event) {
    if (!this.#episode || typing(event.target) || event.ctrlKey || event.metaKey || event.altKey) return;
    const step = Math.round(this.player.step);
    const to = { ArrowLeft: step - 1, ArrowRight: step + 1, Home: 0, End: this.#episode.steps }[event.key];
    const onButton = event.target.closest("button, select, summary, canvas");
    if (to !== undefined && !event.target.closest("select, canvas, input, [role=slider]")) this.player.to(to);
    else if (event.key === " " && !onButton) this.player.toggle();
    else if (event.key === "Delete") this.remove();
    else if (event.key === "Escape") this.back.click();
    else return;
    event.preventDefault();
  }
}
