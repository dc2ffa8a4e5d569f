// From a state to words: what happens now, and what one may do next. Pure: the panel only draws it.
import { number, record, words } from "./dom.js";

/** The modes in words, in the order of the switch. */
export const MODES = {
  record: ["Record", "You drive, and your episodes become demonstrations."],
  correct: ["Correct", "The policy drives. You take over where it goes wrong; what you do is recorded as its lesson."],
  label: ["Label", "The policy drives. At its questions you say what you would do there."],
  shadow: ["Shadow", "You drive. The policy says silently what it would have done."],
  watch: ["Watch", "The policy drives and nothing is recorded."],
};

const action = (what, label, key, more = {}) => ({ what, label, key, ...more });
const START = { record: "Start episode", correct: "Start the policy", label: "Start the policy", shadow: "Start episode", watch: "Start the policy" };

/** Phases in which the operator's keys belong to the robot. */
export function drives(state) {
  return ["countdown", "ready", "running", "asking", "paused"].includes(state?.phase);
}

/** Whether the episode that runs is being recorded. */
export function records(state) {
  return state?.phase === "running" && state.mode !== "watch" && state.recorded !== false;
}

function idle(state) {
  const first = !number(state.saved);
  const hint = state.mode === "watch" ? "The policy starts from a new situation." : first
    ? "A new situation is laid out, then a countdown gives you time to put your hands on the keys."
    : "The next episode begins with a new situation.";
  return { title: "Ready for an episode", hint, actions: [action("start", START[state.mode] ?? "Start", "primary", { primary: true })] };
}

function ready(state) {
  const by = state.mode === "record" || state.mode === "shadow";
  return {
    title: by ? "Move when you are ready" : "About to start",
    hint: by ? "Recording begins with your first motion, so there is no hurry." : "The policy begins in a moment.",
    tone: "live", actions: [action("discard", "Cancel", "discard")],
  };
}

const MARKS = [action("success", "Success", "success", { mark: true }), action("failure", "Failure", "failure", { mark: true })];

function running(state) {
  const evaluates = record(state.evaluation)?.running === true;
  if (evaluates) return { title: "Evaluation", hint: "The policy drives one episode after another. What is under way when you stop is not counted.", tone: "live", actions: [action("end", "Stop the evaluation", "primary", { primary: true })] };
  const end = (primary) => action("end", state.mode === "watch" ? "Stop" : primary ? "End episode" : "End", "primary", { primary });
  const pause = action("pause", "Pause", "pause");
  if (state.mode === "watch") return { title: "The policy drives", hint: "Nothing is recorded.", tone: "live", actions: [end(true), pause] };
  const rest = [pause, action("discard", "Discard", "discard")];
  if (state.mode === "correct") {
    const policy = state.driver === "policy";
    const switching = policy ? action("take", "Take over", "take", { primary: true }) : action("hand", "Hand back", "hand", { primary: true });
    const hint = policy ? "Take over as soon as you would do something else." : "Bring it back on its way, then hand back.";
    return { title: policy ? "The policy drives" : "You drive", hint, tone: "live", actions: [switching, end(false), ...rest, ...MARKS] };
  }
  const label = state.mode === "label";
  return {
    title: label ? "The policy drives" : "Recording", tone: "live",
    hint: label ? "It stops by itself where it has a question." : "End the episode when the task is done, or mark it: that ends it too.",
    actions: [end(true), ...rest, ...(label ? [] : [action("again", "Again", "again"), ...MARKS])],
  };
}

function paused(state) {
  const first = action("resume", state.mode === "correct" && state.driver === "policy" ? "Let it go on" : "Go on", "primary", { primary: true });
  const take = state.mode === "correct" && state.driver === "policy" ? [action("take", "Take over", "take", { then: "resume" })] : [];
  const discard = state.mode === "watch" ? [] : [action("discard", "Discard", "discard")];
  return { title: "Paused", hint: "The robot holds still, and the time does not count.", tone: "ask", actions: [first, ...take, action("end", state.mode === "watch" ? "Stop" : "End", null), ...discard] };
}

function review(state) {
  const steps = number(state.step);
  const marks = MARKS.map((one) => ({ ...one, pressed: state.mark === (one.what === "success") }));
  const said = state.success === true ? "The task says: success." : state.success === false ? "The task says: no success." : "This task does not judge itself.";
  const failed = record(state.message)?.level === "error";
  return {
    title: failed ? "The episode is not saved yet" : "Keep this episode?", hint: `${steps === null ? "" : `${steps} steps. `}${said}`, tone: "ask",
    actions: [action("save", failed ? "Save again" : "Keep", "primary", { primary: true }), action("discard", "Discard", "discard"), action("again", "Again", "again"), ...marks],
  };
}

function asking() {
  return {
    title: "What would you do here?", hint: "Hold the keys as you would drive, and answer. The robot waits.", tone: "ask",
    actions: [action("answer", "Answer with what I hold", "primary", { primary: true }), action("skip", "Skip", "skip")],
  };
}

function failed(state) {
  const text = words(record(state.message)?.text) || "Something broke.";
  return { title: "The session has stopped", hint: `${text}. Nothing moves, and saved episodes are on disk.`.replace("..", "."), tone: "bad", actions: [action("start", "Try again", "primary", { primary: true })] };
}

/** What the panel says in this state: {title, hint, tone, actions: [{what, label, key, primary?, mark?, pressed?, then?}]}. */
export function plan(state) {
  const phase = state?.phase;
  if (phase === "idle") return idle(state);
  if (phase === "countdown") return { title: "Get ready", hint: "A new situation is laid out.", tone: "live", actions: [action("start", "Go now", "primary", { primary: true }), action("discard", "Cancel", "discard")] };
  if (phase === "ready") return ready(state);
  if (phase === "running") return running(state);
  if (phase === "paused") return paused(state);
  if (phase === "review") return review(state);
  if (phase === "saving") return { title: "Saving", hint: "Writing the episode to disk.", actions: [] };
  if (phase === "asking") return asking();
  if (phase === "error") return failed(state);
  return { title: "Waiting for the session", hint: "", actions: [] };
}

const SEEN = {
  idle: "Between two episodes", countdown: "An episode is about to start", ready: "The operator has not moved yet",
  review: "The operator looks at the episode", asking: "The operator is being asked", saving: "Saving", paused: "Paused",
};

/** What happens now, in the words of somebody who only watches. */
export function seen(state) {
  const policy = state?.driver === "policy";
  if (state?.phase === "running") return policy ? "The policy drives" : "The operator drives";
  return SEEN[state?.phase] ?? plan(state).title;
}
