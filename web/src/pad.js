// The gamepad, read when asked: browsers tell of no change by themselves.

const round = (value) => Math.round(value * 1000) / 1000;

/** The first gamepad that is plugged in: {name, axes, buttons}, or null. Browsers show one only after a button was pressed. */
export function readPad(pads = navigator.getGamepads?.() ?? []) {
  for (const pad of pads) {
    if (!pad?.connected) continue;
    return { name: tidy(pad.id), axes: pad.axes.map(round), buttons: pad.buttons.map((button) => round(button.value)) };
  }
  return null;
}

/** A gamepad's name without the numbers of its maker that browsers append. */
export function tidy(id) {
  return String(id).replace(/\s*\((?:[^()]*Vendor:[^()]*|STANDARD GAMEPAD[^()]*)\)/gi, "").replace(/^[0-9a-f]{4}-[0-9a-f]{4}-/i, "").trim() || "Gamepad";
}
