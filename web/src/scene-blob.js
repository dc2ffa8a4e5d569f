// Reads the "MJS1" block of src/understudy/scene/blob.py: what a scene is made of, as plain arrays.

const MAGIC = 0x31534a4d; // "MJS1"
const MOST = 64 * 1024 * 1024; // bytes of one scene

/** {head, meshes: [{places, normals, uv, faces}], textures: [{cube, width, height, pixels}]}; throws where it is damaged. */
export function unpack(buffer) {
  const view = new DataView(buffer);
  if (buffer.byteLength < 8 || buffer.byteLength > MOST || view.getUint32(0, true) !== MAGIC) throw new Error("this is no scene");
  const start = 8 + view.getUint32(4, true);
  if (start > buffer.byteLength) throw new Error("the scene is cut short");
  const head = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 8, start - 8)));
  const part = ([offset, length], Kind) => {
    const from = start + offset;
    if (offset < 0 || length < 0 || from + length > buffer.byteLength) throw new Error("the scene is cut short");
    return new Kind(buffer.slice(from, from + length));
  };
  return { head, meshes: head.meshes.map((mesh) => triangles(mesh, part)), textures: head.textures.map((t) => ({ ...t, pixels: part(t.pixels, Uint8Array) })) };
}

function triangles(mesh, part) {
  const n = mesh.count;
  const quantised = summed(part(mesh.places, Uint16Array), n);
  const facing = part(mesh.normals, Int8Array);
  const places = new Float32Array(3 * n), normals = new Float32Array(3 * n);
  for (let axis = 0; axis < 3; axis++) {
    const low = mesh.low[axis], step = (mesh.high[axis] - low) / 65535;
    for (let i = 0; i < n; i++) {
      places[3 * i + axis] = low + step * quantised[axis * n + i];
      normals[3 * i + axis] = facing[axis * n + i] / 127;
    }
  }
  const faces = summed(part(mesh.faces, n > 65535 ? Uint32Array : Uint16Array));
  if (faces.some((i) => i >= n)) throw new Error("the scene has a triangle without a corner");
  return { places, normals, uv: mesh.uv && part(mesh.uv, Float32Array), faces };
}

/** Adds differences up, in place, each row of `width` for itself; the array's own width wraps around. */
export function summed(values, width = values.length) {
  for (let i = 1; i < values.length; i++) if (i % width) values[i] += values[i - 1];
  return values;
}
