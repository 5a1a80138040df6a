// Time-activity curves and dose-volume histograms as SVG. Each has a table on the page that says the same.

/**
 * @typedef {object} Curve
 * @property {string} region
 * @property {number[]} hours
 * @property {number[]} activity_mbq
 * @property {number[]} sigma_mbq
 * @property {string} method
 * @property {Record<string, number>} parameters
 * @property {number[][]} covariance of amplitudes, then rates
 */

const NS = "http://www.w3.org/2000/svg";
const [W, H, LEFT, BOTTOM, RIGHT, TOP] = [640, 340, 58, 40, 150, 12];
const DASHES = ["", "6 3", "2 3", "8 3 2 3", "12 4", "4 4", "1 4", "10 2 2 2 2 2"];
const MOST = 8;

/** @param {string} tag @param {Record<string, string | number>} attributes @param {string} words */
function svg(tag, attributes, words = "") {
  const element = document.createElementNS(NS, tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, String(value));
  if (words) element.textContent = words;
  return element;
}

/** Amplitudes and rates of a fitted curve. @param {Curve} curve */
export function exponentials(curve) {
  /** @type {number[]} */
  const a = [];
  /** @type {number[]} */
  const l = [];
  for (let n = 1; `a${n}_mbq` in curve.parameters && curve.parameters[`lambda${n}_per_h`] > 0; n += 1) {
    a.push(curve.parameters[`a${n}_mbq`]);
    l.push(curve.parameters[`lambda${n}_per_h`]);
  }
  return { a, l };
}

/** Activity and its standard uncertainty by the fit's covariance. @param {Curve} curve @param {number} t h */
export function fitted(curve, t) {
  const { a, l } = exponentials(curve);
  const decay = l.map((rate) => Math.exp(-rate * t));
  const slope = [...decay, ...a.map((amount, i) => -t * amount * decay[i])];
  const value = a.reduce((sum, amount, i) => sum + amount * decay[i], 0);
  if (curve.covariance.length !== slope.length) return { value, sigma: 0 };
  const variance = slope.reduce((sum, g, i) => sum + slope.reduce((s, h, j) => s + g * h * curve.covariance[i][j], 0), 0);
  return { value, sigma: Math.sqrt(Math.max(variance, 0)) };
}

/**
 * @param {string} label what the chart is
 * @param {string} xText @param {string} yText
 * @param {number} xMax
 * @param {number[]} yTicks
 * @param {(y: number) => number} place 0 at the bottom, 1 at the top
 */
function frame(label, xText, yText, xMax, yTicks, place) {
  const root = svg("svg", { viewBox: `0 0 ${W} ${H}`, role: "img", "aria-label": label, class: "chart" });
  const x = (/** @type {number} */ v) => LEFT + (v / xMax) * (W - LEFT - RIGHT);
  const y = (/** @type {number} */ v) => H - BOTTOM - place(v) * (H - BOTTOM - TOP);
  for (const tick of yTicks) {
    root.append(svg("line", { x1: LEFT, x2: W - RIGHT, y1: y(tick), y2: y(tick), class: "grid" }));
    root.append(svg("text", { x: LEFT - 6, y: y(tick) + 4, "text-anchor": "end" }, String(tick)));
  }
  const step = [0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 24, 48, 72, 168].find((s) => xMax / s <= 8) ?? xMax / 5;
  for (let v = 0; v <= xMax; v += step) root.append(svg("text", { x: x(v), y: H - BOTTOM + 18, "text-anchor": "middle" }, String(Number(v.toPrecision(3)))));
  root.append(svg("text", { x: (LEFT + W - RIGHT) / 2, y: H - 6, "text-anchor": "middle" }, xText));
  root.append(svg("text", { x: 14, y: (H - BOTTOM) / 2, "text-anchor": "middle", transform: `rotate(-90 14 ${(H - BOTTOM) / 2})` }, yText));
  return { root, x, y };
}

/** @param {Element} root @param {number} n @param {string} name @param {string} colour */
function legend(root, n, name, colour) {
  const y = TOP + 12 + 20 * n;
  root.append(svg("line", { x1: W - RIGHT + 10, x2: W - RIGHT + 38, y1: y - 4, y2: y - 4, stroke: colour, "stroke-width": 2, "stroke-dasharray": DASHES[n % DASHES.length] }));
  root.append(svg("text", { x: W - RIGHT + 44, y }, name.length > 16 ? `${name.slice(0, 15)}…` : name));
}

/** @param {(readonly [number, number])[]} points */
const path = (points) => points.map(([x, y], i) => `${i ? "L" : "M"}${x.toFixed(1)} ${y.toFixed(1)}`).join("");

/**
 * @param {Curve[]} curves
 * @param {Record<string, string>} colours
 * @param {number} halfLifeH
 */
export function drawCurves(curves, colours, halfLifeH) {
  const shown = [...curves].sort((p, q) => Math.max(...q.activity_mbq) - Math.max(...p.activity_mbq)).slice(0, MOST);
  const last = 1.25 * Math.max(...shown.flatMap((c) => c.hours));
  const all = shown.flatMap((c) => c.activity_mbq).filter((v) => v > 0);
  const [low, high] = [Math.log10(Math.min(...all) / 3), Math.log10(Math.max(...all) * 2)];
  const ticks = [];
  for (let e = Math.ceil(low); e <= high; e += 1) ticks.push(10 ** e);
  const place = (/** @type {number} */ v) => Math.min(Math.max((Math.log10(Math.max(v, 1e-12)) - low) / (high - low), 0), 1);
  const { root, x, y } = frame("Activity in organs and lesions over time, with the fit and its uncertainty; the table below says the same", "time after administration, h", "activity, MBq", last, ticks.map((t) => Number(t.toPrecision(2))), place);
  shown.forEach((curve, n) => drawCurve(root, x, y, curve, n, colours[curve.region] ?? "#808080", halfLifeH, last));
  return root;
}

/** @param {Element} root @param {(v: number) => number} x @param {(v: number) => number} y @param {Curve} curve @param {number} n @param {string} colour @param {number} halfLifeH @param {number} last */
function drawCurve(root, x, y, curve, n, colour, halfLifeH, last) {
  const end = curve.hours[curve.hours.length - 1];
  const line = { fill: "none", stroke: colour, "stroke-width": 2 };
  if (exponentials(curve).l.length) {
    const times = Array.from({ length: 121 }, (_, i) => (last * i) / 120);
    const values = times.map((t) => fitted(curve, t));
    const upper = times.map((t, i) => /** @type {[number, number]} */ ([x(t), y(values[i].value + values[i].sigma)]));
    const lower = times.map((t, i) => /** @type {[number, number]} */ ([x(t), y(values[i].value - values[i].sigma)]));
    root.append(svg("path", { d: `${path([...upper, ...lower.reverse()])}Z`, fill: colour, "fill-opacity": 0.18 }));
    const seen = times.map((t, i) => ({ t, p: /** @type {[number, number]} */ ([x(t), y(values[i].value)]) }));
    root.append(svg("path", { d: path(seen.filter((s) => s.t <= end).map((s) => s.p)), "stroke-dasharray": DASHES[n % DASHES.length], ...line }));
    root.append(svg("path", { d: path(seen.filter((s) => s.t >= end).map((s) => s.p)), "stroke-dasharray": "1 4", ...line }));
  } else {
    const amount = curve.activity_mbq[curve.hours.length - 1];
    root.append(svg("path", { d: path(curve.hours.map((t, i) => [x(t), y(curve.activity_mbq[i])])), "stroke-dasharray": DASHES[n % DASHES.length], ...line }));
    root.append(svg("path", { d: path([[x(end), y(amount)], [x(last), y(amount * 0.5 ** ((last - end) / halfLifeH))]]), "stroke-dasharray": "1 4", ...line }));
  }
  curve.hours.forEach((t, i) => {
    const [a, s] = [curve.activity_mbq[i], curve.sigma_mbq[i]];
    root.append(svg("line", { x1: x(t), x2: x(t), y1: y(a - s), y2: y(a + s), stroke: colour, "stroke-width": 1.5 }));
    root.append(svg("circle", { cx: x(t), cy: y(a), r: 3.5, fill: colour }));
  });
  legend(root, n, curve.region, colour);
}

/**
 * @param {Record<string, {step_gy: number, volume_percent: number[]}>} histograms
 * @param {Record<string, string>} colours
 */
export function drawDvh(histograms, colours) {
  const shown = Object.entries(histograms).filter(([name]) => name in colours)
    .sort(([, p], [, q]) => q.step_gy * q.volume_percent.length - p.step_gy * p.volume_percent.length).slice(0, MOST);
  const most = Math.max(...shown.map(([, h]) => h.step_gy * (h.volume_percent.length - 1)));
  const { root, x, y } = frame("Cumulative dose-volume histogram; D98, D50 and D2 stand in the table of regions", "absorbed dose, Gy", "volume, %", most, [0, 25, 50, 75, 100], (v) => v / 102);
  shown.forEach(([name, h], n) => {
    const points = h.volume_percent.map((v, i) => /** @type {[number, number]} */ ([x(i * h.step_gy), y(v)]));
    root.append(svg("path", { d: path(points), fill: "none", stroke: colours[name], "stroke-width": 2, "stroke-dasharray": DASHES[n % DASHES.length], "data-region": name }));
    legend(root, n, name, colours[name]);
  });
  return root;
}
