// What keys are called, and which of them the page keeps for its own commands.

const NAMES = {
  ArrowUp: "↑", ArrowDown: "↓", ArrowLeft: "←", ArrowRight: "→", Space: "Space", Enter: "Enter", NumpadEnter: "Enter",
  Backspace: "Backspace", Delete: "Del", Escape: "Esc", Tab: "Tab", ShiftLeft: "Shift", ShiftRight: "right Shift",
  ControlLeft: "Ctrl", ControlRight: "right Ctrl", AltLeft: "Alt", AltRight: "right Alt", Minus: "−", Equal: "=",
  BracketLeft: "[", BracketRight: "]", Semicolon: ";", Quote: "'", Comma: ",", Period: ".", Slash: "/", Backslash: "\\",
  Backquote: "`", PageUp: "Page up", PageDown: "Page down", Home: "Home", End: "End",
};

/** What is written on the key with this code, on a keyboard of the United States' layout. */
export function named(code) {
  if (NAMES[code]) return NAMES[code];
  const letter = /^(?:Key|Digit)([A-Z0-9])$/.exec(code);
  if (letter) return letter[1];
  const pad = /^Numpad(\w+)$/.exec(code);
  return pad ? `keypad ${pad[1]}` : String(code);
}

/** The page's own keys: code -> command. A key that drives the robot is left to the robot. */
export const COMMANDS = {
  Enter: "primary", NumpadEnter: "primary", Delete: "discard", Backspace: "discard", KeyR: "again",
  KeyY: "success", KeyN: "failure", KeyT: "take", KeyH: "hand", KeyP: "pause", Escape: "halt",
  Minus: "slower", Equal: "faster", KeyX: "skip",
};

/** The key that gives this command, or null where the robot's bindings need it. */
export function keyOf(command, driving) {
  for (const [code, what] of Object.entries(COMMANDS)) if (what === command && !driving.has(code)) return code;
  return null;
}

/** The codes of all keys that drive the robot. */
export function drivingKeys(bindings) {
  const codes = new Set();
  for (const binding of Array.isArray(bindings) ? bindings : []) {
    if ((binding?.device ?? "keyboard") !== "keyboard" || !Array.isArray(binding.keys)) continue;
    for (const code of binding.keys) if (typeof code === "string") codes.add(code);
  }
  return codes;
}
