// The handle at the hand: arrows and planes to drag it by, with mouse or finger.
import { Object3D } from "three";
import { TransformControls } from "three/addons/controls/TransformControls.js";

/** A handle in a view; `drag(x, y, z)` while somebody holds it, `drag(null)` when it is let go. */
export class Handle {
  constructor(view, drag) {
    this.view = view;
    this.grip = new Object3D();
    this.gizmo = new TransformControls(view.camera, view.canvas);
    this.gizmo.size = 0.75;
    this.gizmo.attach(this.grip);
    view.scene.add(this.grip, this.gizmo.getHelper());
    this.gizmo.addEventListener("change", () => { view.changed = true; });
    this.gizmo.addEventListener("objectChange", () => drag(...this.grip.position.toArray()));
    this.gizmo.addEventListener("dragging-changed", ({ value }) => {
      view.orbit.enabled = !value;
      if (value) return;
      drag(null);
      view.place();
    });
  }

  /** Goes where the hand is, unless somebody holds it. */
  follow(poses, at) {
    if (this.gizmo.dragging) return;
    this.grip.position.fromArray(poses, at);
    this.grip.updateMatrixWorld();
  }

  /** Takes it away; who held it has let go. */
  dispose() {
    this.view.orbit.enabled = true;
    this.gizmo.detach();
    this.view.scene.remove(this.grip, this.gizmo.getHelper());
    this.gizmo.dispose();
  }
}
