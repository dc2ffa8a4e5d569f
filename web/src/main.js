// The page: its bar, its views by the address's hash, the link's state, and the help.
import { list, say, show } from "./dom.js";
import { Help } from "./help.js";
import { drivingKeys } from "./keys.js";
import { mountLibrary } from "./library.js";
import { Link } from "./link.js";
import { mountLive } from "./live.js";

const $ = (id) => document.getElementById(id);
const address = new URL("ws", location.href);
address.protocol = location.protocol === "https:" ? "wss:" : "ws:";
address.search = address.hash = "";
if (new URL(location.href).searchParams.has("token")) history.replaceState(null, "", location.pathname + location.hash);

const link = new Link(address);
const live = mountLive($("live"), link);
const help = new Help($("help"), (open) => live.shown(!open && view() === "live"));
let has = { live: true, data: false };
let library = null;

function view() {
  return location.hash === "#data" && has.data ? "data" : has.live ? "live" : "data";
}

/** Shows the view that the hash names. */
function route() {
  const now = view();
  for (const name of ["live", "data"]) {
    show($(name), name === now);
    $(`to-${name}`).toggleAttribute("aria-current", false);
    if (name === now) $(`to-${name}`).setAttribute("aria-current", "page");
  }
  if (now === "data") library ??= mountLibrary($("data"), "api/data");
  document.body.dataset.view = now;
  live.shown(now === "live" && !$("help").open);
}

function greet(hello) {
  const task = typeof hello.task === "string" ? hello.task : "";
  say($("task"), task);
  document.title = task ? `${task} · understudy studio` : "understudy studio";
  has = { live: list(hello.modes).length > 0, data: hello.data !== false };
  show($("views"), has.live && has.data);
  help.bind(hello.bindings, drivingKeys(hello.bindings));
  route();
}

const WORDS = { connecting: "Connecting", open: "Connected", lost: "Not connected", stranger: "Not connected" };

// The banner is made once and only its words change, so that its button can be pressed while tries go on.
const told = document.createElement("strong"), why = document.createElement("span"), act = document.createElement("button");
const line = document.createElement("p");
line.append(told, " ", why);
act.type = "button";
act.addEventListener("click", () => (link.status.phase === "stranger" ? location.reload() : link.retry()));
$("banner").append(line, act);

function status({ phase, reason }) {
  say($("link-word"), WORDS[phase]);
  $("link").dataset.phase = phase;
  const stranger = phase === "stranger";
  const bad = stranger || phase === "lost";
  if (bad) {
    say(told, stranger ? "This page and the studio do not fit together." : "The link to the studio is lost. The robot has stopped; saved episodes are on disk.");
    say(why, stranger ? reason : reason || "Trying again.");
    say(act, stranger ? "Reload" : "Try now");
  }
  show($("banner"), bad);
}

function delay() {
  const found = link.status.phase === "open" ? link.latency.summary() : null;
  say($("delay"), found ? `${found.median.toFixed(0)} ms (95 %: ${found.p95.toFixed(0)})` : "");
}

link.on("hello", greet).on("status", status);
$("help-button").addEventListener("click", (event) => {
  if (event.detail) $("help-button").blur(); // after a mouse's click the keys go back to the robot, not to this button
  help.toggle();
});
addEventListener("hashchange", route);
setInterval(delay, 500);
route();
link.connect();
