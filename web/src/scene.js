// A scene on a canvas: its geometry once, then the poses of its bodies; the picture can be turned.
import {
  AmbientLight, Color, DirectionalLight, Fog, HemisphereLight, MeshBasicMaterial, Object3D, PCFShadowMap, PerspectiveCamera,
  Quaternion, Scene, Vector3, WebGLRenderer,
} from "three";
import { OrbitControls } from "three/addons/controls/OrbitControls.js";
import { unpack } from "./scene-blob.js";
import { build, free } from "./scene-shapes.js";
import { Handle } from "./scene-handle.js";
import { steer } from "./scene-keys.js";

const BACKGROUND = { light: 0xeef1f5, dark: 0x171b21 };
const GHOST = 0x35a56c;
const DEGREE = Math.PI / 180;
const FIELD = 45; // degrees that the camera sees from bottom to top
const LONGEST = 150; // ms over which two poses are joined; a longer wait is a jump
const IDLE = 250; // ms without a change, after which a coarse picture is drawn once in full
const NARROW = 1.3; // width over height below which the camera steps back
const COARSE = 0.5; // of the pixels along each side, where the processor draws

/** Whether this browser draws without a graphics card; null where it cannot draw at all. */
export function software() {
  const gl = document.createElement("canvas").getContext("webgl2");
  if (!gl) return null;
  const known = gl.getExtension("WEBGL_debug_renderer_info");
  const name = String(gl.getParameter(known ? known.UNMASKED_RENDERER_WEBGL : gl.RENDERER));
  gl.getExtension("WEBGL_lose_context")?.loseContext();
  return /swiftshader|llvmpipe|softpipe|software|basic render/i.test(name);
}

/**
 * One scene. Call `render` for every picture of the screen: it draws only where something has changed.
 * `light` (no shadows, fewer pixels while things move) is chosen by itself where the processor draws.
 */
export class SceneView {
  constructor(canvas, { light } = {}) {
    const slow = software();
    if (slow === null) throw new Error("this browser has no WebGL 2");
    this.canvas = canvas;
    this.light = light ?? slow;
    this.renderer = new WebGLRenderer({ canvas, antialias: !this.light, powerPreference: "high-performance" });
    this.renderer.shadowMap.enabled = !this.light;
    this.renderer.shadowMap.type = PCFShadowMap;
    this.camera = new PerspectiveCamera(FIELD, 1, 0.01, 500);
    this.camera.up.set(0, 0, 1);
    this.scene = new Scene();
    this.lamps();
    this.orbit = new OrbitControls(this.camera, canvas);
    this.orbit.maxPolarAngle = 0.53 * Math.PI;
    this.orbit.addEventListener("change", () => { this.changed = true; });
    this.ends = new AbortController();
    this.listen(this.ends.signal);
    this.theme();
    this.lost = false;
    this.drag = null;
    this.resize();
  }

  lamps() {
    this.sun = new DirectionalLight(0xffffff, 2.1);
    this.sun.castShadow = !this.light;
    this.sun.shadow.mapSize.set(2048, 2048);
    this.sun.shadow.radius = 4;
    this.sun.shadow.bias = -0.0004;
    this.sun.shadow.normalBias = 0.01;
    this.scene.add(new HemisphereLight(0xffffff, 0x8a8f99, 1.5), new AmbientLight(0xffffff, 0.25), this.sun, this.sun.target);
  }

  listen(signal) {
    const dark = matchMedia("(prefers-color-scheme: dark)");
    dark.addEventListener("change", () => this.theme(), { signal });
    this.canvas.addEventListener("webglcontextlost", (event) => { event.preventDefault(); this.lost = true; }, { signal });
    this.canvas.addEventListener("webglcontextrestored", () => { this.lost = false; this.changed = true; }, { signal });
    steer(this, signal);
  }

  theme() {
    const shade = BACKGROUND[matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light"];
    this.scene.background = new Color(shade);
    if (this.scene.fog) this.scene.fog.color.set(shade);
    this.changed = true;
  }

  /** Takes the geometry; the bodies show with the first poses. Throws where the bytes are no scene. */
  async load(buffer) {
    const unpacked = unpack(buffer);
    const made = build(unpacked, this.light);
    this.clear();
    this.head = unpacked.head;
    Object.assign(this, made);
    this.root.visible = false;
    this.scene.add(this.root);
    const far = this.head.camera.distance;
    this.scene.fog = this.grounds.length ? new Fog(this.scene.background.getHex(), 4 * far, 14 * far) : null;
    this.camera.near = far / 200;
    this.camera.far = 40 * far;
    const reach = 1.1 * far;
    Object.assign(this.sun.shadow.camera, { left: -reach, right: reach, top: reach, bottom: -reach, near: 0.1 * far, far: 6 * far });
    this.sun.shadow.camera.updateProjectionMatrix();
    this.from = this.to = this.shown = null;
    this.moving = false; // what was on its way belonged to another scene
    this.resetCamera();
    if (this.drag) this.onDrag(this.drag);
  }

  /** Poses [n, 7] of now. They are joined to the last ones; without a time, or where it jumps, they show at once. */
  setPoses(poses, timeMs) {
    if (!this.head || poses.length !== 7 * this.head.bodies) return;
    const now = performance.now();
    if (this.to && poses.every((value, i) => value === this.to[i])) { // nothing moved: nothing need be drawn
      this.time = timeMs;
      if (!this.moving) this.arrived = now;
      return;
    }
    const waited = now - (this.arrived ?? -Infinity);
    const ahead = timeMs === undefined ? -1 : timeMs - (this.time ?? timeMs);
    const jump = !this.shown || ahead <= 0 || ahead > 1000 || waited > 1000;
    this.from = jump ? null : this.shown.slice();
    this.to = Float32Array.from(poses);
    this.time = timeMs;
    // How long the next ones will take to come: as long as these did, smoothed.
    this.period = jump ? 40 : Math.min(LONGEST, 0.7 * (this.period ?? waited) + 0.3 * waited);
    this.arrived = now;
    this.moving = true;
  }

  /** Calls `fn(x, y, z)` while the hand is dragged and `fn(null)` when it is let go; null takes the handle away. */
  onDrag(fn) {
    this.drag = fn;
    this.handle?.dispose();
    this.handle = fn && this.head && this.head.hand !== null ? new Handle(this, (...to) => this.drag?.(...to)) : null;
    this.place();
    this.changed = true;
  }

  /** A second, see-through copy at these poses; null takes it away. */
  ghost(poses) {
    if (!this.head || (poses && poses.length !== 7 * this.head.bodies)) return;
    if (poses && !this.shades) this.shades = this.bodies.map((body) => this.shade(body));
    this.other = poses;
    this.haunt();
    this.changed = true;
  }

  // Only what is elsewhere than the thing itself is shown.
  haunt() {
    for (const [i, shade] of (this.shades ?? []).entries()) {
      shade.visible = Boolean(this.other) && i !== this.head.goal && Boolean(this.shown) && apart(this.other, this.shown, 7 * i);
      if (shade.visible) pose(shade, this.other, 7 * i);
    }
  }

  shade(body) {
    this.veil ??= new MeshBasicMaterial({ color: GHOST, transparent: true, opacity: 0.38, depthWrite: false });
    const copy = new Object3D();
    for (const mesh of body.children.filter((child) => child.userData.plain)) {
      const twin = mesh.clone();
      twin.material = this.veil;
      twin.castShadow = twin.receiveShadow = false;
      twin.renderOrder = 2;
      copy.add(twin);
    }
    this.root.add(copy);
    return copy;
  }

  /** Looks from where the scene says, at what it follows. */
  resetCamera() {
    if (!this.head) return;
    const { target, distance, azimuth, elevation } = this.head.camera;
    const level = Math.cos(elevation * DEGREE);
    const ahead = new Vector3(level * Math.cos(azimuth * DEGREE), level * Math.sin(azimuth * DEGREE), Math.sin(elevation * DEGREE));
    this.orbit.target.set(target[0], target[1], target[2]);
    if (this.at) this.orbit.target.add(new Vector3(this.at.x - this.first.x, this.at.y - this.first.y, 0));
    this.camera.position.copy(this.orbit.target).addScaledVector(ahead, -distance * back(this.camera.aspect));
    this.orbit.minDistance = distance / 12;
    this.orbit.maxDistance = distance * 6;
    this.orbit.update();
    this.changed = true;
  }

  /** Fits the picture to the canvas. */
  resize() {
    this.width = this.canvas.clientWidth || 1;
    this.height = this.canvas.clientHeight || 1;
    const before = back(this.camera.aspect);
    this.camera.aspect = this.width / this.height;
    this.camera.updateProjectionMatrix();
    this.fit(false);
    this.camera.position.sub(this.orbit.target).multiplyScalar(back(this.camera.aspect) / before).add(this.orbit.target);
    this.orbit.update();
  }

  fit(coarse) {
    this.coarse = coarse;
    this.renderer.setPixelRatio(coarse ? COARSE : Math.min(devicePixelRatio || 1, this.light ? 1 : 2));
    this.renderer.setSize(this.width, this.height, false);
    this.changed = true;
  }

  /** Draws where something has changed since the last picture; returns whether it drew. */
  render() {
    if (this.lost || !this.head) return false;
    const now = performance.now();
    if (this.moving) this.step(now);
    if (!this.changed) {
      if (!this.coarse || now - this.drawn < IDLE) return false;
      this.fit(false);
    } else if (this.light && !this.coarse && now - (this.drawn ?? -Infinity) < IDLE) this.fit(true);
    this.changed = false;
    for (const follow of this.grounds) follow(this.orbit.target.x, this.orbit.target.y);
    this.shine();
    this.renderer.render(this.scene, this.camera);
    this.drawn = performance.now();
    return true;
  }

  /** Whether calling `render` again would draw nothing, now and later, unless something changes. */
  get settled() {
    return this.lost || !this.head || !(this.moving || this.changed || this.coarse);
  }

  /** Frees everything; the canvas can be given to another view then. */
  dispose() {
    this.onDrag(null);
    this.ends.abort();
    this.orbit.dispose();
    this.clear();
    this.renderer.dispose();
    this.lost = true;
  }

  clear() {
    if (this.root) {
      this.scene.remove(this.root);
      free(this.root);
    }
    this.veil?.dispose();
    this.root = this.shades = this.other = this.veil = this.head = this.at = this.first = null;
  }

  step(now) {
    const share = this.from ? Math.min(1, (now - this.arrived) / Math.max(this.period, 1)) : 1;
    this.shown = share < 1 ? between(this.from, this.to, share) : this.to.slice();
    if (share >= 1) this.moving = false;
    for (const [i, body] of this.bodies.entries()) pose(body, this.shown, 7 * i);
    this.root.visible = true;
    this.follow();
    this.place();
    this.haunt();
    this.changed = true;
  }

  follow() {
    const row = this.head.follow;
    if (row === null) return;
    const at = new Vector3(this.shown[7 * row], this.shown[7 * row + 1], 0);
    this.first ??= new Vector3(this.head.camera.target[0], this.head.camera.target[1], 0);
    const moved = at.clone().sub(this.at ?? this.first);
    this.at = at;
    this.orbit.target.add(moved);
    this.camera.position.add(moved);
    this.orbit.update();
  }

  place() {
    if (this.handle && this.shown) this.handle.follow(this.shown, 7 * this.head.hand);
  }

  // The sun stands behind the viewer's left shoulder of the first picture, over what is looked at.
  shine() {
    const { azimuth, distance } = this.head.camera, side = (azimuth + 145) * DEGREE;
    this.sun.target.position.copy(this.orbit.target);
    this.sun.position.copy(this.orbit.target).add(new Vector3(1.3 * Math.cos(side), 1.3 * Math.sin(side), 2.4).multiplyScalar(distance));
  }
}

// How much further away the camera stands in a narrow picture, which shows as much from side to side as a wide one.
function back(aspect) {
  return Math.max(1, NARROW / aspect);
}

const FIRST = new Quaternion(), SECOND = new Quaternion();

function pose(object, poses, at) {
  object.position.fromArray(poses, at);
  object.quaternion.fromArray(poses, at + 3);
}

// By more than 2 mm, or a turn of about a degree.
function apart(a, b, at) {
  const turn = a[at + 3] * b[at + 3] + a[at + 4] * b[at + 4] + a[at + 5] * b[at + 5] + a[at + 6] * b[at + 6];
  return Math.hypot(a[at] - b[at], a[at + 1] - b[at + 1], a[at + 2] - b[at + 2]) > 0.002 || Math.abs(turn) < 0.99996;
}

/** Poses [n, 7] between two, places along lines and turns the shorter way round. */
export function between(from, to, share) {
  const out = new Float32Array(to.length);
  for (let at = 0; at < to.length; at += 7) {
    for (let k = 0; k < 3; k++) out[at + k] = from[at + k] + share * (to[at + k] - from[at + k]);
    FIRST.fromArray(from, at + 3).slerp(SECOND.fromArray(to, at + 3), share).toArray(out, at + 3);
  }
  return out;
}
