// Reads what src/understudy/report/replay3d.py packs: poses as differences of 16-bit numbers, in two planes of bytes.

/** The bytes behind base64 of gzip. */
export async function inflated(text) {
  const packed = Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
  return new Response(new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"))).arrayBuffer();
}

/** Episodes, each [the policy's clip, the expert's or nothing]; a clip has frames: Float32Array [bodies * 7] each. */
export function clips(spec, data) {
  const bytes = new Uint8Array(data), half = bytes.length / 2, width = 7 * spec.bodies;
  let start = 0;
  const clip = (about) => {
    const frames = Array.from({ length: about.frames }, () => new Float32Array(width));
    for (let column = 0; column < width; column++) {
      const part = column % 7, from = start + column * about.frames;
      let word = 0;
      for (let f = 0; f < about.frames; f++) {
        word = (word + bytes[from + f] + (bytes[half + from + f] << 8)) & 0xffff;
        frames[f][column] = part < 3 ? spec.low[part] + (word / 65535) * (spec.high[part] - spec.low[part]) : ((word << 16) >> 16) / 32767;
      }
    }
    start += width * about.frames;
    return { ...about, frames };
  };
  return spec.episodes.map((pair) => pair.map(clip));
}
