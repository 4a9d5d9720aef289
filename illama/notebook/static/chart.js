// A small line over time, drawn as SVG, with the same said in words. Knows numbers and times. Does not know what they are of.

import { h, setText } from "./dom.js";
import { duration } from "./format.js";

/** @typedef {{ t: number, value: number }} Point t in milliseconds */
/** @typedef {{ element: HTMLElement, update: (points: Point[]) => void }} Chart */

const SVG = "http://www.w3.org/2000/svg";
const WIDTH = 300;
const HEIGHT = 56;
// Milliseconds that the chart is wide at least, and a time without a look after which the line breaks off.
const LEAST = 60000;
const GAP = 15000;

/**
 * Draw what `update` is told.
 * @param {{ label: string, unit: (value: number) => string, least?: number }} options `unit` makes a value readable; `least` is
 *   the smallest value that the top may stand for
 * @returns {Chart}
 */
export function createChart({ label, unit, least = 1 }) {
  const area = shape("path", { class: "area" });
  const line = shape("path", { class: "line", "vector-effect": "non-scaling-stroke" });
  const svg = shape("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", "aria-hidden": "true", focusable: "false" });
  svg.append(area, line);
  const now = h("strong");
  const top = h("span", { class: "top soft" });
  const since = h("span", { class: "soft" });
  const words = h("p", { class: "spoken" });
  const element = h("figure", { class: "chart" },
    h("figcaption", {}, h("span", {}, label), now),
    h("div", { class: "plot", "aria-hidden": "true" }, svg, top),
    h("p", { class: "axis", "aria-hidden": "true" }, since, h("span", { class: "soft" }, "now")),
    words);
  return {
    element,
    update(points) {
      const { lines, areas, highest, span } = outline(points, least);
      line.setAttribute("d", lines);
      area.setAttribute("d", areas);
      const last = points.at(-1);
      setText(now, last ? unit(last.value) : "–");
      setText(top, unit(highest));
      setText(since, `${duration(span / 1000)} ago`);
      const most = points.reduce((found, point) => Math.max(found, point.value), 0);
      setText(words, last
        ? `Now ${unit(last.value)}; the highest of the last ${duration(Math.max((last.t - points[0].t) / 1000, 1))} was ${unit(most)}.`
        : "Nothing was measured yet.");
    },
  };
}

/**
 * The line and the area below it as SVG paths; broken where nobody looked for a while.
 * @param {Point[]} points oldest first
 * @param {number} least
 */
export function outline(points, least) {
  const last = points.at(-1)?.t ?? 0;
  const span = Math.max(last - (points[0]?.t ?? last), LEAST);
  const highest = nice(points.reduce((found, point) => Math.max(found, point.value), least));
  const x = (/** @type {Point} */ point) => (WIDTH - ((last - point.t) / span) * WIDTH).toFixed(1);
  const y = (/** @type {Point} */ point) => (HEIGHT - 1 - (Math.max(point.value, 0) / highest) * (HEIGHT - 2)).toFixed(1);
  let lines = "";
  let areas = "";
  for (const run of runs(points)) {
    const path = run.map((point) => `${x(point)} ${y(point)}`).join("L");
    lines += `M${path}${run.length === 1 ? "h1" : ""}`;
    areas += `M${x(run[0])} ${HEIGHT}L${path}L${x(run[run.length - 1])} ${HEIGHT}Z`;
  }
  return { lines, areas, highest, span };
}

/** @param {Point[]} points */
function runs(points) {
  /** @type {Point[][]} */
  const found = [];
  for (const point of points) {
    const before = found.at(-1)?.at(-1);
    if (before && point.t - before.t <= GAP) found[found.length - 1].push(point);
    else found.push([point]);
  }
  return found;
}

/** The next number that reads well: 1, 2 or 5 with zeros. @param {number} value */
function nice(value) {
  const unit = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 5, 10].map((step) => step * unit).find((step) => step >= value) ?? value;
}

/** @param {string} tag @param {Record<string, string>} attributes */
function shape(tag, attributes) {
  const made = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  return made;
}
