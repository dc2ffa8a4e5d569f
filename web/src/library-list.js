// The list of episodes: only the rows in sight are in the page, fetched a page at a time, steered by keyboard.
import { el, say, show } from "./dom.js";
import { many, outcome, seconds, title } from "./library-words.js";

const HIGH = 58; // pixels of a row, as library.css has it
const PAGE = 100; // rows fetched at once
const ORDERS = [
  ["index", "up", "As recorded"],
  ["index", "down", "Newest first"],
  ["worst", "up", "Worst first"],
  ["steps", "down", "Longest first"],
  ["steps", "up", "Shortest first"],
  ["operator", "up", "By operator"],
];

/** The list of one source. `onOpen(index, version)` hears of a choice, `onDelete(index)` of the Delete key. */
export class EpisodeList {
  #pages = new Map();
  #asked = new Set();
  #head = null;
  #source = "";
  #place = 0;
  #chosen = null;
  #turn = 0;

  constructor(api, { onOpen, onDelete, onNews, onTrouble }) {
    Object.assign(this, { api, onOpen, onDelete, onNews, onTrouble });
    const pick = (label, ...options) => {
      const node = el("select", { "aria-label": label, on: { change: () => this.#again() } }, ...options);
      return node;
    };
    this.order = pick("Order", ...ORDERS.map(([, , name], i) => el("option", { value: i }, name)));
    this.success = pick("Outcome", ...[["", "All outcomes"], ["yes", "Success"], ["no", "Failure"], ["unknown", "Unknown"]].map(([v, t]) => el("option", { value: v }, t)));
    this.operator = pick("Operator", el("option", { value: "" }, "All operators"));
    this.flag = pick("Flag", el("option", { value: "" }, "Any flags"));
    this.count = el("p", { class: "lib-count", role: "status" });
    this.inner = el("div", { class: "lib-rows-inner" });
    this.rows = el("div", { class: "lib-rows", role: "listbox", tabindex: "0", "aria-label": "Episodes" }, this.inner);
    this.rows.addEventListener("scroll", () => this.#paint(), { passive: true });
    this.rows.addEventListener("keydown", (e) => this.#keys(e));
    this.watch = new ResizeObserver(() => this.#paint());
    this.watch.observe(this.rows);
    this.root = el("section", { class: "lib-list", "aria-label": "Episodes" }, el("div", { class: "lib-filters" }, this.order, this.success, this.operator, this.flag), this.count, this.rows);
  }

  /** What the first answer said of the source: version, totals, undo, busy. */
  get head() {
    return this.#head;
  }

  show(source) {
    this.#source = source;
    for (const filter of [this.success, this.operator, this.flag]) filter.value = "";
    return this.#again();
  }

  /** Looks whether anything is new: other episodes, or flags that are ready now. */
  async refresh() {
    const turn = this.#turn;
    const head = await this.#ask(0, 1);
    if (!head || turn !== this.#turn || !this.#head) return;
    const news = head.version !== this.#head.version || head.measuring !== this.#head.measuring || head.busy !== this.#head.busy;
    if (news) await this.#again(true);
  }

  /** Marks the episode that is open. */
  choose(index) {
    this.#chosen = index;
    this.#paint();
  }

  focus() {
    this.rows.focus({ preventScroll: true });
  }

  /** The row at the keyboard's place, or null. */
  get current() {
    return this.#row(this.#place);
  }

  dispose() {
    this.#turn += 1;
    this.watch.disconnect();
  }

  async #again(stay = false) {
    const turn = ++this.#turn;
    const first = stay ? Math.floor(this.rows.scrollTop / HIGH / PAGE) * PAGE : 0;
    const head = await this.#ask(first, PAGE);
    if (!head || turn !== this.#turn) return;
    this.#pages = new Map([[first, head.rows]]);
    this.#asked = new Set([first]);
    this.#head = head;
    if (!stay) {
      this.#place = 0;
      this.rows.scrollTop = 0;
    }
    this.#place = Math.max(0, Math.min(this.#place, head.matching - 1));
    refill(this.operator, "All operators", head.operators, (o) => o || "(nobody named)");
    refill(this.flag, "Any flags", head.kinds, title);
    show(this.operator, head.operators.length > 1 || this.operator.value);
    show(this.flag, head.kinds.length > 0 || this.flag.value);
    const all = many(head.total, "episode");
    say(this.count, `${head.matching === head.total ? all : `${head.matching} of ${all}`}${head.measuring ? " · checking their quality…" : ""}`);
    this.inner.style.height = `${head.matching * HIGH}px`;
    this.#paint();
    this.onNews(head);
  }

  async #ask(start, count) {
    const [sort, order] = ORDERS[Number(this.order.value)];
    const query = { source: this.#source, sort, order, success: this.success.value, flag: this.flag.value, start, count };
    if (this.operator.value) query.operator = this.operator.value === "\0" ? "" : this.operator.value;
    try {
      return await this.api.json("episodes", query);
    } catch (error) {
      this.onTrouble(error);
      return null;
    }
  }

  #row(i) {
    return this.#pages.get(Math.floor(i / PAGE) * PAGE)?.[i % PAGE] ?? null;
  }

  async #fetch(first) {
    if (this.#asked.has(first)) return;
    this.#asked.add(first);
    const turn = this.#turn;
    const page = await this.#ask(first, PAGE);
    if (turn !== this.#turn) return;
    if (!page) this.#asked.delete(first);
    else if (page.version !== this.#head.version) this.#again(true);
    else {
      this.#pages.set(first, page.rows);
      this.#paint();
    }
  }

  #paint() {
    if (!this.#head) return;
    const from = Math.max(0, Math.floor(this.rows.scrollTop / HIGH) - 3);
    const to = Math.min(this.#head.matching, Math.ceil((this.rows.scrollTop + this.rows.clientHeight) / HIGH) + 3);
    const nodes = [];
    for (let i = from; i < to; i += 1) {
      if (!this.#row(i)) this.#fetch(Math.floor(i / PAGE) * PAGE);
      nodes.push(this.#draw(i, this.#row(i)));
    }
    if (!this.#head.matching) nodes.push(el("p", { class: "lib-none" }, this.#head.total ? "No episode fits these filters." : "No episodes yet. What is recorded appears here."));
    this.inner.replaceChildren(...nodes);
    if (nodes.some((n) => n.id === `lib-row-${this.#place}`)) this.rows.setAttribute("aria-activedescendant", `lib-row-${this.#place}`);
    else this.rows.removeAttribute("aria-activedescendant");
  }

  #draw(i, row) {
    const chosen = row !== null && row.index === this.#chosen;
    const node = el("div", { class: "lib-row", id: `lib-row-${i}`, role: "option", "aria-selected": String(chosen), "aria-posinset": i + 1, "aria-setsize": this.#head.matching });
    node.style.top = `${i * HIGH}px`;
    node.classList.toggle("lib-row-here", i === this.#place);
    if (!row) return node;
    const { sign, word, kind } = outcome(row.success);
    const facts = [many(row.steps, "step"), seconds(row.seconds), row.operator].filter(Boolean);
    if (row.takeovers) facts.push(many(row.takeovers, "takeover"));
    if (row.labelled < 1) facts.push(`${Math.round(100 * row.labelled)} % labelled`);
    const grave = row.flags.filter((f) => f.severity !== "info");
    const flag = grave[0] ?? row.flags[0];
    node.append(
      el("span", { class: `lib-sign lib-${kind}`, role: "img", "aria-label": word, title: word }, sign),
      el("span", { class: "lib-what" }, el("b", {}, `Episode ${row.index}`), el("span", { title: facts.join(" · ") }, facts.join(" · "))),
      ...(flag ? [el("span", { class: `lib-flag lib-flag-${flag.severity}`, title: flag.text }, title(flag.kind), row.flags.length > 1 ? ` +${row.flags.length - 1}` : "")] : [])
    );
    node.addEventListener("click", () => {
      this.#place = i;
      this.onOpen(row.index);
    });
    return node;
  }

  #keys(event) {
    if (!this.#head?.matching || event.ctrlKey || event.metaKey || event.altKey) return;
    const page = Math.max(1, Math.floor(this.rows.clientHeight / HIGH) - 1);
    const last = this.#head.matching - 1;
    const to = { ArrowDown: this.#place + 1, ArrowUp: this.#place - 1, PageDown: this.#place + page, PageUp: this.#place - page, Home: 0, End: last }[event.key];
    if (to !== undefined) {
      this.#place = Math.max(0, Math.min(last, to));
      const top = this.#place * HIGH;
      if (top < this.rows.scrollTop) this.rows.scrollTop = top;
      if (top + HIGH > this.rows.scrollTop + this.rows.clientHeight) this.rows.scrollTop = top + HIGH - this.rows.clientHeight;
      this.#paint();
    } else if ((event.key === "Enter" || event.key === " ") && this.current) this.onOpen(this.current.index);
    else if (event.key === "Delete" && this.current) this.onDelete(this.current.index);
    else return;
    event.preventDefault();
    event.stopPropagation();
  }
}

/** New options behind the first one; what was chosen stays chosen where it is still there. */
function refill(select, all, values, words) {
  const chosen = select.value;
  select.replaceChildren(el("option", { value: "" }, all), ...values.map((v) => el("option", { value: v || "\0" }, words(v))));
  select.value = [...select.options].some((o) => o.value === chosen) ? chosen : "";
}
