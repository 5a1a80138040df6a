// Volumes as the server keeps them: MetaImage files whose axes lie along the patient's x, y and z (LPS, mm).

/**
 * @typedef {object} Source
 * @property {string} url
 * @property {string} quantity
 * @property {string} unit
 * @property {string[]} names
 * @property {number[]} shape voxels along x, y, z
 * @property {number[]} spacing mm
 * @property {number[]} origin centre of the first voxel, mm
 * @property {number} bytes compressed
 */

/** @typedef {{values: Float32Array | Uint32Array, w: number, h: number, u0: number, du: number, v0: number, dv: number}} Slice */

const KINDS = { MET_FLOAT: Float32Array, MET_SHORT: Int16Array, MET_UINT: Uint32Array };

/** The axes (u, v) that a plane normal to axis 0, 1 or 2 shows. */
export const AXES = [[1, 2], [0, 2], [0, 1]];

export class Volume {
  /**
   * @param {Source} source
   * @param {Float32Array | Int16Array | Uint32Array} data
   */
  constructor(source, data) {
    this.source = source;
    this.data = data;
    const [nx, ny] = source.shape;
    this.steps = [1, nx, nx * ny];
  }

  /** @param {number[]} mm @returns {number} index of the voxel that holds the point, -1 outside */
  index(mm) {
    let at = 0;
    for (let a = 0; a < 3; a += 1) {
      const i = Math.round((mm[a] - this.source.origin[a]) / this.source.spacing[a]);
      if (i < 0 || i >= this.source.shape[a]) return -1;
      at += i * this.steps[a];
    }
    return at;
  }

  /** @param {number[]} mm @returns {number | null} the value of that voxel; nothing is interpolated */
  at(mm) {
    const i = this.index(mm);
    return i < 0 ? null : this.data[i];
  }

  /** @param {number} index @returns {number[]} centre of a voxel, mm */
  mm(index) {
    const [nx, ny] = this.source.shape;
    const place = [index % nx, Math.floor(index / nx) % ny, Math.floor(index / (nx * ny))];
    return place.map((i, a) => this.source.origin[a] + i * this.source.spacing[a]);
  }

  /**
   * The plane through `mm` normal to `axis`: blended of the two voxel planes beside it, or (bits) the nearest.
   * @param {number} axis
   * @param {number} mm
   * @param {boolean} nearest
   * @returns {Slice | null} null outside
   */
  slice(axis, mm, nearest) {
    const { shape, spacing, origin } = this.source;
    const f = (mm - origin[axis]) / spacing[axis];
    if (f < -0.5 || f > shape[axis] - 0.5) return null;
    const low = Math.min(Math.max(nearest ? Math.round(f) : Math.floor(f), 0), shape[axis] - 1);
    const high = Math.min(low + 1, shape[axis] - 1);
    const part = nearest ? 0 : Math.min(Math.max(f - low, 0), 1);
    const [u, v] = AXES[axis];
    const [w, h] = [shape[u], shape[v]];
    const values = nearest ? new Uint32Array(w * h) : new Float32Array(w * h);
    const [a, b] = [low * this.steps[axis], high * this.steps[axis]];
    for (let j = 0, k = 0; j < h; j += 1) {
      let at = j * this.steps[v];
      for (let i = 0; i < w; i += 1, k += 1, at += this.steps[u]) {
        values[k] = part === 0 ? this.data[a + at] : this.data[a + at] * (1 - part) + this.data[b + at] * part;
      }
    }
    return { values, w, h, u0: origin[u], du: spacing[u], v0: origin[v], dv: spacing[v] };
  }

  max() {
    let most = 0;
    for (const value of this.data) if (value > most) most = value;
    return most;
  }
}

/**
 * @param {Source} source
 * @returns {Promise<Volume>}
 */
export async function fetchVolume(source) {
  const answer = await fetch(source.url, { credentials: "same-origin" });
  if (!answer.ok) throw new Error(`${source.quantity}: the server answered ${answer.status}`);
  const bytes = await answer.arrayBuffer();
  const head = new TextDecoder("ascii").decode(new Uint8Array(bytes, 0, Math.min(8192, bytes.byteLength)));
  const last = "ElementDataFile = LOCAL\n";
  const start = head.indexOf(last) + last.length;
  const kind = /** @type {keyof typeof KINDS} */ (/ElementType = (\w+)/.exec(head)?.[1]);
  const n = source.shape[0] * source.shape[1] * source.shape[2];
  return new Volume(source, new KINDS[kind](bytes.slice(start), 0, n));
}

/**
 * Lines at a level through a slice, by marching squares: segments as u1, v1, u2, v2 in mm.
 * @param {Slice} slice
 * @param {(index: number) => number} value
 * @param {number} level
 * @returns {number[]}
 */
export function contour(slice, value, level) {
  const { w, h, u0, du, v0, dv } = slice;
  /** @type {number[]} */
  const found = [];
  for (let j = 0; j < h - 1; j += 1) {
    for (let i = 0; i < w - 1; i += 1) {
      const k = j * w + i;
      const [a, b, c, d] = [value(k) - level, value(k + 1) - level, value(k + w + 1) - level, value(k + w) - level];
      const above = (a > 0 ? 1 : 0) + (b > 0 ? 1 : 0) + (c > 0 ? 1 : 0) + (d > 0 ? 1 : 0);
      if (above === 0 || above === 4) continue;
      /** @type {number[][]} */
      const cuts = [];
      if (a > 0 !== b > 0) cuts.push([i + a / (a - b), j]);
      if (b > 0 !== c > 0) cuts.push([i + 1, j + b / (b - c)]);
      if (c > 0 !== d > 0) cuts.push([i + d / (d - c), j + 1]);
      if (d > 0 !== a > 0) cuts.push([i, j + a / (a - d)]);
      // A saddle has four cuts: joined so that the middle stays on the side of its mean.
      if (cuts.length === 4 && a > 0 !== a + b + c + d > 0) cuts.push(/** @type {number[]} */ (cuts.shift()));
      for (let s = 0; s + 1 < cuts.length; s += 2) {
        const [p, q] = [cuts[s], cuts[s + 1]];
        found.push(u0 + p[0] * du, v0 + p[1] * dv, u0 + q[0] * du, v0 + q[1] * dv);
      }
    }
  }
  return found;
}
