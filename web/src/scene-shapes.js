// Makes the things of a scene: three's meshes from MuJoCo's shapes, a group for each moving body.
import {
  BoxGeometry, BufferAttribute, BufferGeometry, CapsuleGeometry, Color, CubeTexture, CylinderGeometry, DataTexture, Group,
  LinearFilter, LinearMipmapLinearFilter, Mesh, MeshLambertMaterial, MeshStandardMaterial, PlaneGeometry, RepeatWrapping, SphereGeometry, SRGBColorSpace,
} from "three";

const ENDLESS = 400; // metres of a plane without an end; it moves with the camera
const GROUND = 0.3; // how much of a ground's own colour shows; the rest is the page's, so that it stays calm in light and dark

/** {root, bodies: [Group], grounds: [(x, y) => moves an endless ground there]} of an unpacked scene. */
export function build(scene, light) {
  const root = new Group();
  const bodies = Array.from({ length: scene.head.bodies }, () => new Group());
  const meshes = scene.meshes.map(triangles), textures = scene.textures.map(textured);
  const grounds = [];
  for (const shape of scene.head.shapes) {
    const made = new Mesh(geometry(shape, meshes), material(shape, textures, light));
    made.position.fromArray(shape.pos);
    made.quaternion.fromArray(shape.quat);
    const solid = shape.rgba[3] >= 1, ground = shape.kind === "plane";
    made.castShadow = made.userData.plain = solid && !ground;
    made.receiveShadow = solid;
    made.renderOrder = ground ? -1 : solid ? 0 : 1;
    (shape.body < 0 ? root : bodies[shape.body]).add(made);
    if (ground && !shape.size[0]) grounds.push(endless(made, shape));
  }
  root.add(...bodies);
  return { root, bodies, grounds };
}

/** Frees what three holds on the graphics card for everything below an object. */
export function free(root) {
  root.traverse((object) => {
    object.geometry?.dispose();
    for (const one of [object.material].flat()) {
      one?.map?.dispose();
      one?.userData?.cube?.dispose();
      one?.dispose();
    }
  });
}

function geometry({ kind, size: [a, b, c], mesh }, meshes) {
  switch (kind) {
    case "plane": return new PlaneGeometry(2 * a || ENDLESS, 2 * b || ENDLESS);
    case "box": return new BoxGeometry(2 * a, 2 * b, 2 * c);
    case "sphere": return new SphereGeometry(a, 32, 16);
    case "ellipsoid": return new SphereGeometry(1, 32, 16).scale(a, b, c);
    case "capsule": return new CapsuleGeometry(a, 2 * b, 8, 24).rotateX(Math.PI / 2);
    case "cylinder": return new CylinderGeometry(a, a, 2 * b, 36).rotateX(Math.PI / 2);
    case "mesh": return meshes[mesh];
    default: throw new Error(`the scene has a ${kind}, which cannot be drawn`);
  }
}

function triangles({ places, normals, uv, faces }) {
  const made = new BufferGeometry();
  made.setAttribute("position", new BufferAttribute(places, 3));
  made.setAttribute("normal", new BufferAttribute(normals, 3));
  if (uv) made.setAttribute("uv", new BufferAttribute(uv, 2));
  made.setIndex(new BufferAttribute(faces, 1));
  return made;
}

function material(shape, textures, light) {
  const [red, green, blue] = shape.rgba;
  const color = new Color().setRGB(red, green, blue, SRGBColorSpace); // MuJoCo's numbers go to the screen as they are
  const alpha = shape.rgba[3] * (shape.kind === "plane" ? GROUND : 1);
  const clear = alpha < 1 ? { transparent: true, opacity: alpha, depthWrite: false } : {};
  const made = light ? new MeshLambertMaterial({ color, ...clear }) : new MeshStandardMaterial({ color, roughness: 0.62, metalness: 0, ...clear });
  const texture = textures[shape.texture];
  if (texture?.isCubeTexture) wrap(made, texture);
  else if (texture) {
    made.map = texture.clone();
    made.map.repeat.set(...shape.repeat);
    made.map.needsUpdate = true;
  }
  return made;
}

function textured({ cube, width, height, pixels }) {
  const faces = cube ? 6 : 1, each = (width * height) / faces;
  const images = Array.from({ length: faces }, (_, f) => {
    const rgba = new Uint8Array(4 * each).fill(255); // three has no textures of three channels
    for (let i = 0; i < each; i++) for (let k = 0; k < 3; k++) rgba[4 * i + k] = pixels[3 * (f * each + i) + k];
    return new DataTexture(rgba, width, height / faces);
  });
  const made = cube ? new CubeTexture(images) : images[0];
  made.colorSpace = SRGBColorSpace;
  made.magFilter = LinearFilter;
  made.minFilter = LinearMipmapLinearFilter;
  made.generateMipmaps = true;
  made.anisotropy = 4;
  if (!cube) made.wrapS = made.wrapT = RepeatWrapping;
  made.needsUpdate = true;
  return made;
}

// MuJoCo lays a cube's pictures around a shape by the direction from its middle; three would use them as a mirror.
function wrap(made, cube) {
  made.userData.cube = cube;
  made.onBeforeCompile = (shader) => {
    shader.uniforms.around = { value: cube };
    shader.vertexShader = shader.vertexShader.replace("void main() {", "varying vec3 vAround;\nvoid main() {\n  vAround = position;");
    shader.fragmentShader = shader.fragmentShader
      .replace("void main() {", "uniform samplerCube around;\nvarying vec3 vAround;\nvoid main() {")
      .replace("#include <map_fragment>", "diffuseColor.rgb *= textureCube(around, vAround).rgb;");
  };
  made.customProgramCacheKey = () => "around";
}

// The ground's texture stays where it is in the world when the ground moves by whole tiles.
function endless(made, shape) {
  const map = made.material.map;
  const tile = map ? shape.repeat.map((times) => 1 / times) : [1, 1];
  if (map) {
    map.repeat.set(ENDLESS / tile[0], ENDLESS / tile[1]);
    map.offset.set(-ENDLESS / 2 / tile[0], -ENDLESS / 2 / tile[1]);
  }
  return (x, y) => {
    made.position.x = shape.pos[0] + Math.round(x / tile[0]) * tile[0];
    made.position.y = shape.pos[1] + Math.round(y / tile[1]) * tile[1];
  };
}
