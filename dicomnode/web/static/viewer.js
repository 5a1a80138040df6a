// Three planes through the patient on Canvas 2D: CT, a wash, isodose lines and outlines. Left is the patient's
// right. Values are interpolated, then coloured; the read-out is the voxel's own value.

import { css, maps } from "./colours.js";
import { AXES, Volume, contour, fetchVolume } from "./volume.js";

/** @typedef {import("./volume.js").Source} Source */
/**
 * @typedef {object} Facts
 * @property {Record<string, Source>} volumes
 * @property {Record<string, string>} colours
 * @property {number[]} isodoses Gy
 * @property {number[]} window HU
 */

const PLANES = [
  { axis: 2, name: "axial", letters: ["R", "L", "A", "P"] },
  { axis: 1, name: "coronal", letters: ["R", "L", "H", "F"] },
  { axis: 0, name: "sagittal", letters: ["A", "P", "H", "F"] },
];
const FAINT = 0.01;

/**
 * @template {keyof HTMLElementTagNameMap} K
 * @param {K} tag
 * @param {Record<string, string>} attributes
 * @param {(Node | string)[]} children
 * @returns {HTMLElementTagNameMap[K]}
 */
export function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

/** @param {number} value @param {number} sigma value ± uncertainty, two digits of it (GUM 7.2.6) */
export function withSigma(value, sigma) {
  if (!(sigma >= 5e-4)) return value.toPrecision(3);
  const decimals = Math.min(Math.max(1 - Math.floor(Math.log10(Number(sigma.toPrecision(2)))), 0), 4);
  return `${value.toFixed(decimals)} ± ${sigma.toFixed(decimals)}`;
}

export class Viewer {
  /**
   * @param {HTMLElement} place
   * @param {Facts} facts
   */
  constructor(place, facts) {
    this.facts = facts;
    /** @type {Record<string, Volume>} */
    this.volumes = {};
    this.cross = [0, 0, 0];
    this.zoom = 1;
    this.overlay = "dose";
    this.root = true;
    /** @type {Record<string, number>} */
    this.tops = {};
    this.note = make("p", { class: "note", role: "status" }, "Loading");
    this.readout = make("dl", { class: "readout", "aria-live": "polite" });
    this.bar = make("canvas", { width: "420", height: "34", class: "scale", role: "img" });
    this.canvases = PLANES.map((p) =>
      make("canvas", { tabindex: "0", role: "application", "data-plane": p.name, "aria-label": `${p.name} plane: arrows move the crosshair, page keys change the slice, plus and minus zoom` }),
    );
    this.select = this.controls();
    place.replaceChildren(
      this.select.form, make("div", { class: "planes" }, ...this.canvases), this.bar, this.readout, this.note,
    );
    this.canvases.forEach((canvas, n) => this.listen(canvas, n));
    new ResizeObserver(() => this.draw()).observe(place);
  }

  controls() {
    const names = Object.keys(this.facts.volumes);
    const scans = names.filter((n) => /^T\d+$/.test(n)).sort((a, b) => Number(a.slice(1)) - Number(b.slice(1)));
    const wash = make("select", { name: "wash" });
    for (const [value, text] of [["dose", "Dose"], ["percent", "Uncertainty of the dose"], ["tia", "Time-integrated activity"], ...scans.map((s) => [s, `SPECT ${s}`]), ["", "None"]]) {
      wash.append(make("option", { value }, text));
    }
    const scale = make("select", { name: "scale" }, make("option", { value: "root" }, "square root"), make("option", { value: "linear" }, "linear"));
    const top = make("input", { name: "top", type: "number", min: "0", step: "any", size: "6" });
    const lines = make("input", { type: "checkbox", name: "lines", checked: "" });
    const outlines = make("input", { type: "checkbox", name: "outlines", checked: "" });
    const go = make("select", { name: "go" }, make("option", { value: "" }, "…"), ...Object.keys(this.facts.colours).map((n) => make("option", { value: n }, n)));
    const [out, into] = [make("button", { type: "button", "aria-label": "Zoom out" }, "−"), make("button", { type: "button", "aria-label": "Zoom in" }, "+")];
    const form = make("form", { class: "filter", "aria-label": "What the pictures show" },
      make("label", {}, "Colours ", wash), make("label", {}, "Scale ", scale), make("label", {}, "Up to ", top),
      make("label", {}, lines, " isodoses"), make("label", {}, outlines, " outlines"), make("label", {}, "Go to ", go), out, into);
    form.addEventListener("submit", (event) => event.preventDefault());
    wash.addEventListener("change", () => this.show(wash.value));
    scale.addEventListener("change", () => { this.root = scale.value === "root"; this.draw(); });
    top.addEventListener("change", () => { if (Number(top.value) > 0) { this.tops[this.overlay] = Number(top.value); this.draw(); } });
    lines.addEventListener("change", () => this.draw());
    outlines.addEventListener("change", () => this.draw());
    go.addEventListener("change", () => this.goTo(go.value));
    out.addEventListener("click", () => this.zoomBy(1 / 1.25));
    into.addEventListener("click", () => this.zoomBy(1.25));
    return { form, top, lines, outlines };
  }

  /** @param {string} name */
  async fetch(name) {
    if (this.volumes[name] || !this.facts.volumes[name]) return;
    const source = this.facts.volumes[name];
    this.note.textContent = `Loading ${source.quantity.toLowerCase()} (${(source.bytes / 1e6).toFixed(1)} MB)`;
    this.volumes[name] = await fetchVolume(source);
    if (name === "tia") this.inHours(this.volumes[name]);
  }

  async load() {
    await this.fetch("dose");
    const regions = Object.keys(this.facts.volumes).filter((n) => n.startsWith("regions-"));
    for (const name of ["sigma", ...regions]) await this.fetch(name);
    this.cross = this.focus();
    await this.show("dose");
    for (const name of ["ct", "tia"]) {
      await this.fetch(name);
      this.draw();
    }
    this.said();
  }

  /** As clinics read it, and the report shows it. @param {Volume} tia */
  inHours(tia) {
    for (let i = 0; i < tia.data.length; i += 1) tia.data[i] /= 3600;
    tia.source = { ...tia.source, unit: "MBq h/mL" };
  }

  /** @param {string} overlay */
  async show(overlay) {
    if (overlay === "percent") { await this.fetch("sigma"); this.makePercent(); } else await this.fetch(overlay);
    this.overlay = overlay;
    const volume = this.volumes[overlay];
    if (volume && !this.tops[overlay]) this.tops[overlay] = overlay === "percent" ? 50 : Number(volume.max().toPrecision(3));
    this.select.top.value = volume ? String(this.tops[overlay]) : "";
    this.said();
    this.draw();
  }

  said() {
    const what = this.facts.volumes.ct ? "" : "There is no CT to show. ";
    this.note.textContent = `${what}Isodose lines are solid, outlines of regions dashed. ± is the standard uncertainty (k = 1) of the voxel.`;
    document.documentElement.dataset.pictures = "drawn";
  }

  /** Relative uncertainty, where there is dose to speak of. */
  makePercent() {
    if (this.volumes.percent) return;
    const { dose, sigma } = this.volumes;
    const least = FAINT * dose.max();
    const values = Float32Array.from(dose.data, (d, i) => (d > least ? (100 * sigma.data[i]) / d : 0));
    this.volumes.percent = new Volume({ ...dose.source, quantity: "Standard uncertainty of the dose", unit: "%" }, values);
  }

  /** @returns {{name: string, bit: number, volume: Volume}[]} */
  regions() {
    return Object.keys(this.volumes).filter((n) => n.startsWith("regions-")).flatMap((n) =>
      this.volumes[n].source.names.map((name, i) => ({ name, bit: 2 ** i, volume: this.volumes[n] })));
  }

  /** The highest dose within an organ or lesion. */
  focus() {
    const { dose } = this.volumes;
    const organs = this.regions().filter((r) => r.name in this.facts.colours);
    let [best, most] = [0, -1];
    for (let i = 0; i < dose.data.length; i += 1) {
      if (dose.data[i] <= most) continue;
      if (organs.length && !organs.some((r) => r.volume.data[i] & r.bit)) continue;
      [best, most] = [i, dose.data[i]];
    }
    return dose.mm(best);
  }

  /** @param {string} name the middle of a region */
  goTo(name) {
    const region = this.regions().find((r) => r.name === name);
    if (!region) return;
    const sum = [0, 0, 0];
    let n = 0;
    for (let i = 0; i < region.volume.data.length; i += 1) {
      if (region.volume.data[i] & region.bit) { region.volume.mm(i).forEach((c, a) => { sum[a] += c; }); n += 1; }
    }
    if (n) this.move(sum.map((s) => s / n));
  }

  /** @param {number[]} mm */
  move(mm) {
    const [low, high] = this.box();
    this.cross = mm.map((c, a) => Math.min(Math.max(c, low[a]), high[a]));
    this.draw();
  }

  /** @param {number} by */
  zoomBy(by) {
    this.zoom = Math.min(Math.max(this.zoom * by, 1), 12);
    this.draw();
  }

  /** Corners of what is shown: the CT, or the dose grid. */
  box() {
    const { shape, spacing, origin } = this.facts.volumes.ct ?? this.facts.volumes.dose;
    return [origin.map((o, a) => o - spacing[a] / 2), origin.map((o, a) => o + (shape[a] - 0.5) * spacing[a])];
  }

  /** @param {number} n @returns {{left: number, top: number, scale: number, flip: boolean, w: number, h: number}} mm at the left and top edge, pixels a mm */
  frame(n) {
    const { axis } = PLANES[n];
    const [u, v] = AXES[axis];
    const [low, high] = this.box();
    const { width: w, height: h } = this.canvases[n];
    const scale = Math.min(w / (high[u] - low[u]), h / (high[v] - low[v])) * this.zoom;
    const about = this.zoom > 1 ? this.cross : low.map((l, a) => (l + high[a]) / 2);
    const flip = v === 2;
    return { left: about[u] - w / 2 / scale, top: flip ? about[v] + h / 2 / scale : about[v] - h / 2 / scale, scale, flip, w, h };
  }

  /** @param {HTMLCanvasElement} canvas @param {number} n */
  listen(canvas, n) {
    const [u, v] = AXES[PLANES[n].axis];
    /** @param {PointerEvent} event */
    const point = (event) => {
      const f = this.frame(n);
      const box = canvas.getBoundingClientRect();
      const [x, y] = [((event.clientX - box.left) * f.w) / box.width, ((event.clientY - box.top) * f.h) / box.height];
      const mm = [...this.cross];
      mm[u] = f.left + x / f.scale;
      mm[v] = f.flip ? f.top - y / f.scale : f.top + y / f.scale;
      this.move(mm);
    };
    canvas.addEventListener("pointerdown", (event) => { canvas.setPointerCapture(event.pointerId); point(event); });
    canvas.addEventListener("pointermove", (event) => { if (event.buttons === 1) point(event); });
    canvas.addEventListener("keydown", (event) => this.key(event, n));
  }

  /** @param {KeyboardEvent} event @param {number} n */
  key(event, n) {
    const { axis } = PLANES[n];
    const [u, v] = AXES[axis];
    const { spacing } = this.facts.volumes.ct ?? this.facts.volumes.dose;
    const down = v === 2 ? -1 : 1;
    /** @type {Record<string, [number, number]>} */
    const moves = { ArrowLeft: [u, -1], ArrowRight: [u, 1], ArrowUp: [v, -down], ArrowDown: [v, down], PageUp: [axis, 1], PageDown: [axis, -1] };
    if (event.key in moves) {
      const [a, sign] = moves[event.key];
      const mm = [...this.cross];
      mm[a] += sign * spacing[a];
      this.move(mm);
    } else if (event.key === "+" || event.key === "-") this.zoomBy(event.key === "+" ? 1.25 : 0.8);
    else return;
    event.preventDefault();
  }

  draw() {
    if (!this.volumes.dose) return;
    this.canvases.forEach((canvas, n) => {
      const width = Math.max(Math.round(canvas.clientWidth), 120);
      if (canvas.width !== width || canvas.height !== width) { canvas.width = width; canvas.height = width; }
      this.drawPlane(n);
    });
    this.drawScale();
    this.tell();
  }

  colourMap() {
    if (this.overlay === "percent") return maps.cividis;
    return this.overlay === "dose" ? maps.inferno : maps.viridis;
  }

  /** @param {number} n */
  drawPlane(n) {
    const plane = PLANES[n];
    const canvas = this.canvases[n];
    const context = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
    const f = this.frame(n);
    const image = context.createImageData(f.w, f.h);
    const at = this.cross[plane.axis];
    const ct = this.volumes.ct?.slice(plane.axis, at, false);
    const wash = this.volumes[this.overlay]?.slice(plane.axis, at, false);
    const [low, high] = this.facts.window;
    paint(image, f, ct ?? null, (v, p, o) => {
      const grey = Math.min(Math.max((255 * (v - low)) / (high - low), 0), 255);
      p[o] = p[o + 1] = p[o + 2] = grey;
    });
    const [map, top, root] = [this.colourMap(), this.tops[this.overlay] ?? 1, this.root];
    const even = this.overlay === "percent"; // a small uncertainty is a statement, too
    paint(image, f, wash ?? null, (v, p, o) => {
      const part = Math.min(Math.max(v / top, 0), 1);
      const alpha = even ? (v > 0 ? 0.65 : 0) : 0.8 * Math.min(Math.max((part - FAINT) / 0.09, 0), 1);
      if (alpha === 0) return;
      const c = 3 * Math.round(255 * (root ? Math.sqrt(part) : part));
      for (let k = 0; k < 3; k += 1) p[o + k] += alpha * (map[c + k] - p[o + k]);
    });
    for (let o = 3; o < image.data.length; o += 4) image.data[o] = 255;
    context.putImageData(image, 0, 0);
    if (this.select.outlines.checked) this.drawOutlines(context, f, plane.axis, at);
    if (this.select.lines.checked) this.drawIsodoses(context, f, plane.axis, at);
    this.drawMarks(context, f, plane);
  }

  /** @param {CanvasRenderingContext2D} context @param {any} f @param {number} axis @param {number} at */
  drawOutlines(context, f, axis, at) {
    context.setLineDash([5, 4]);
    /** @type {Map<Volume, import("./volume.js").Slice | null>} */
    const slices = new Map();
    for (const { name, bit, volume } of this.regions()) {
      if (!(name in this.facts.colours)) continue;
      if (!slices.has(volume)) slices.set(volume, volume.slice(axis, at, true));
      const slice = slices.get(volume);
      if (slice) stroke(context, f, contour(slice, (k) => (slice.values[k] & bit ? 1 : 0), 0.5), this.facts.colours[name], 1.6, 0.6);
    }
    context.setLineDash([]);
  }

  /** @param {CanvasRenderingContext2D} context @param {any} f @param {number} axis @param {number} at */
  drawIsodoses(context, f, axis, at) {
    const slice = this.volumes.dose.slice(axis, at, false);
    if (!slice) return;
    const top = this.tops.dose ?? 1;
    for (const [n, level] of this.facts.isodoses.entries()) {
      const lines = contour(slice, (k) => slice.values[k], level);
      if (!lines.length) continue;
      // The wash's own colour, lighter: on a wash of the same colour a line would not be seen.
      const own = css(maps.inferno, Math.sqrt(Math.min(level / top, 1)));
      const colour = `color-mix(in srgb, ${own}, white 55%)`;
      stroke(context, f, lines, colour, 1.6, 3.2);
      // Labels at the right, the top, the left and the foot in turn, so that nested lines keep theirs apart.
      const [along, sign] = [n % 2, n % 4 < 2 ? 1 : -1];
      let best = 0;
      for (let i = 0; i < lines.length; i += 4) if (sign * lines[i + along] > sign * lines[best + along]) best = i;
      const [x, y] = toScreen(f, lines[best], lines[best + 1]);
      text(context, `${level} Gy`, along || sign > 0 ? x + 3 : x - 40, y, "#fff");
    }
  }

  /** @param {CanvasRenderingContext2D} context @param {any} f @param {{axis: number, letters: string[]}} plane */
  drawMarks(context, f, plane) {
    const [u, v] = AXES[plane.axis];
    const [x, y] = toScreen(f, this.cross[u], this.cross[v]);
    context.strokeStyle = "rgb(255 255 255 / 0.65)";
    context.lineWidth = 1;
    context.beginPath();
    for (const [a, b, c, d] of [[0, y, x - 8, y], [x + 8, y, f.w, y], [x, 0, x, y - 8], [x, y + 8, x, f.h]]) { context.moveTo(a, b); context.lineTo(c, d); }
    context.stroke();
    const [left, right, top, bottom] = plane.letters;
    text(context, left, 5, f.h / 2, "#fff"); text(context, right, f.w - 15, f.h / 2, "#fff");
    text(context, top, f.w / 2, 12, "#fff"); text(context, bottom, f.w / 2, f.h - 8, "#fff");
    context.fillStyle = "#fff";
    context.fillRect(8, f.h - 10, 50 * f.scale, 2);
    text(context, "50 mm", 8, f.h - 18, "#fff");
  }

  drawScale() {
    const context = /** @type {CanvasRenderingContext2D} */ (this.bar.getContext("2d"));
    const { width, height } = this.bar;
    context.clearRect(0, 0, width, height);
    const volume = this.volumes[this.overlay];
    this.bar.hidden = !volume;
    if (!volume) return;
    const top = this.tops[this.overlay];
    for (let x = 10; x < width - 60; x += 1) { context.fillStyle = css(this.colourMap(), (x - 10) / (width - 70)); context.fillRect(x, 0, 1, 14); }
    context.font = "12px system-ui, sans-serif";
    context.fillStyle = getComputedStyle(this.bar).color;
    for (const part of this.root ? [0, 0.05, 0.2, 0.5, 1] : [0, 0.25, 0.5, 0.75, 1]) {
      const x = 10 + (this.root ? Math.sqrt(part) : part) * (width - 70);
      context.fillRect(x, 14, 1, 4);
      context.textAlign = "center";
      context.fillText(Number((part * top).toPrecision(3)).toString(), x, 30);
    }
    context.textAlign = "left";
    context.fillText(volume.source.unit, width - 56, 12);
    this.bar.setAttribute("aria-label", `Colours: ${volume.source.quantity}, 0 to ${top} ${volume.source.unit}`);
  }

  tell() {
    const at = this.cross;
    const { ct, dose, sigma, tia } = this.volumes;
    /** @type {[string, string][]} */
    const said = [["place", at.map((c, a) => `${"xyz"[a]} ${c.toFixed(1)}`).join(", ") + " mm"]];
    const [gy, u] = [dose.at(at), sigma?.at(at)];
    if (gy !== null) said.push(["dose", `${withSigma(gy, u ?? 0)} Gy${u && gy > 0 && u / gy > 0.2 ? ` (${((100 * u) / gy).toFixed(0)} %)` : ""}`]);
    const hu = ct?.at(at);
    if (hu !== undefined && hu !== null) said.push(["CT", `${hu} HU`]);
    const other = this.overlay === "dose" || this.overlay === "percent" ? tia : this.volumes[this.overlay];
    const value = other?.at(at);
    if (other && value !== null && value !== undefined) said.push([other === tia ? "TIA" : this.overlay, `${Number(value.toPrecision(3))} ${other.source.unit}`]);
    const here = this.regions().filter((r) => (r.volume.at(at) ?? 0) & r.bit && r.name in this.facts.colours).map((r) => r.name);
    said.push(["region", here.join(", ") || "none"]);
    this.readout.replaceChildren(...said.map(([name, text]) => make("div", { "data-read": name }, make("dt", {}, name), make("dd", {}, text))));
  }
}

/** @param {any} f @param {number} u @param {number} v */
function toScreen(f, u, v) {
  return [(u - f.left) * f.scale, f.flip ? (f.top - v) * f.scale : (v - f.top) * f.scale];
}

/** @param {CanvasRenderingContext2D} context @param {any} f @param {number[]} lines @param {string} colour @param {number} width @param {number} rim */
function stroke(context, f, lines, colour, width, rim) {
  context.beginPath();
  for (let i = 0; i < lines.length; i += 4) {
    context.moveTo(...toScreen(f, lines[i], lines[i + 1]));
    context.lineTo(...toScreen(f, lines[i + 2], lines[i + 3]));
  }
  if (rim > width) { context.strokeStyle = "rgb(0 0 0 / 0.6)"; context.lineWidth = rim; context.stroke(); }
  context.strokeStyle = colour;
  context.lineWidth = width;
  context.stroke();
}

/** @param {CanvasRenderingContext2D} context @param {string} words @param {number} x @param {number} y @param {string} colour */
function text(context, words, x, y, colour) {
  context.font = "600 12px system-ui, sans-serif";
  context.lineWidth = 3;
  context.strokeStyle = "rgb(0 0 0 / 0.8)";
  context.strokeText(words, x, y);
  context.fillStyle = colour;
  context.fillText(words, x, y);
}

/**
 * Bilinear in values, then `put` into the pixels; nothing outside the volume.
 * @param {ImageData} image @param {any} f @param {import("./volume.js").Slice | null} slice
 * @param {(value: number, pixels: Uint8ClampedArray, offset: number) => void} put
 */
function paint(image, f, slice, put) {
  if (!slice) return;
  const { w, h, u0, du, v0, dv, values } = slice;
  const columns = taps(f.w, w, (x) => (f.left + (x + 0.5) / f.scale - u0) / du);
  const rows = taps(f.h, h, (y) => ((f.flip ? f.top - (y + 0.5) / f.scale : f.top + (y + 0.5) / f.scale) - v0) / dv);
  const { low: i, high: k, part: p } = columns;
  for (let y = 0; y < f.h; y += 1) {
    if (rows.low[y] < 0) continue;
    const [a, b, q] = [rows.low[y] * w, rows.high[y] * w, rows.part[y]];
    for (let x = columns.first, o = 4 * (y * f.w + x); x < columns.last; x += 1, o += 4) {
      const one = values[a + i[x]] + p[x] * (values[a + k[x]] - values[a + i[x]]);
      const two = values[b + i[x]] + p[x] * (values[b + k[x]] - values[b + i[x]]);
      put(one + q * (two - one), image.data, o);
    }
  }
}

/**
 * Which two voxels each pixel lies between, and how far; -1 outside the volume.
 * @param {number} pixels @param {number} voxels @param {(pixel: number) => number} place in voxels
 */
function taps(pixels, voxels, place) {
  const [low, high, part] = [new Int32Array(pixels).fill(-1), new Int32Array(pixels), new Float32Array(pixels)];
  let [first, last] = [pixels, 0];
  for (let x = 0; x < pixels; x += 1) {
    const c = place(x);
    if (c < -0.5 || c > voxels - 0.5) continue;
    low[x] = Math.min(Math.max(Math.floor(c), 0), voxels - 1);
    high[x] = Math.min(low[x] + 1, voxels - 1);
    part[x] = Math.min(Math.max(c - low[x], 0), 1);
    [first, last] = [Math.min(first, x), x + 1];
  }
  return { low, high, part, first, last };
}
