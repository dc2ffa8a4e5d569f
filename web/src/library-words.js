// How numbers and outcomes of episodes are said, in the list and beside the timeline.

/** A duration in seconds, or "" where nobody knows. */
export function seconds(value) {
  if (value === null || value === undefined) return "";
  return value < 60 ? `${value.toFixed(1)} s` : `${Math.floor(value / 60)} min ${Math.round(value % 60)} s`;
}

/** A value in at most seven places. */
export function value(x) {
  if (x === null || x === undefined) return "–";
  if (x === 0) return "0";
  const size = Math.abs(x);
  return size >= 1e5 || size < 1e-3 ? x.toExponential(1) : String(Number(x.toPrecision(4)));
}

/** An outcome: a sign, a word and a class. */
export function outcome(success) {
  if (success === true) return { sign: "✓", word: "Success", kind: "yes" };
  if (success === false) return { sign: "✗", word: "Failure", kind: "no" };
  return { sign: "?", word: "Outcome unknown", kind: "unknown" };
}

/** "3 episodes", "1 episode". */
export function many(count, what) {
  return `${count} ${what}${count === 1 ? "" : "s"}`;
}

/** With a capital letter in front. */
export function capital(text) {
  return text.charAt(0).toUpperCase() + text.slice(1);
}

/** A flag's kind as a title: "near-duplicates" -> "Near duplicates". */
export function title(kind) {
  return capital(String(kind).replaceAll("-", " "));
}
