// The cycle page: takes the facts out of the page and draws them.

import { drawCurves, drawDvh } from "./charts.js";
import { Viewer } from "./viewer.js";

const facts = JSON.parse(/** @type {HTMLElement} */ (document.getElementById("to-draw")).textContent ?? "{}");
const curves = document.getElementById("curves");
if (curves && facts.curves.length) curves.append(drawCurves(facts.curves, facts.colours, facts.half_life_h));
const dvh = document.getElementById("dvh");
if (dvh && Object.keys(facts.colours).length) dvh.append(drawDvh(facts.dvh, facts.colours));
const place = document.getElementById("pictures");
if (place && facts.volumes.dose) {
  const viewer = new Viewer(place, facts);
  viewer.load().catch((error) => {
    viewer.note.textContent = `The pictures cannot be shown: ${error.message}. The report has them.`;
    viewer.note.className = "fault";
  });
} else if (place) {
  place.textContent = "This revision kept no volumes; the report has its pictures.";
}
