// Turning the picture by keyboard: Shift and the arrow keys, so that keys alone stay free to drive.
import { Spherical, Vector3 } from "three";

const TURN = Math.PI / 24, ZOOM = 1.12;
const ROUND = { ArrowLeft: -TURN, ArrowRight: TURN };
const OVER = { ArrowUp: -TURN, ArrowDown: TURN };
const CLOSER = { Equal: 1 / ZOOM, NumpadAdd: 1 / ZOOM, Minus: ZOOM, NumpadSubtract: ZOOM };

/** Shift with arrows turns a view, with plus and minus moves it closer and away, with Home resets it. */
export function steer(view, signal) {
  view.canvas.addEventListener("keydown", (event) => {
    if (!event.shiftKey || event.ctrlKey || event.altKey || event.metaKey || !view.head) return;
    if (event.code === "Home") view.resetCamera();
    else if (event.code in ROUND || event.code in OVER || event.code in CLOSER) turn(view, ROUND[event.code] ?? 0, OVER[event.code] ?? 0, CLOSER[event.code] ?? 1);
    else return;
    event.preventDefault();
    event.stopPropagation();
  }, { signal });
}

function turn(view, round, over, closer) {
  const { camera, orbit } = view;
  // three's spherical coordinates have y up.
  const away = camera.position.clone().sub(orbit.target);
  const seen = new Spherical().setFromVector3(new Vector3(away.x, away.z, -away.y));
  seen.theta += round;
  seen.phi = Math.min(Math.max(seen.phi + over, 0.05), orbit.maxPolarAngle);
  seen.radius = Math.min(Math.max(seen.radius * closer, orbit.minDistance), orbit.maxDistance);
  const to = new Vector3().setFromSpherical(seen);
  camera.position.set(to.x, -to.z, to.y).add(orbit.target);
  orbit.update();
  view.changed = true;
}
