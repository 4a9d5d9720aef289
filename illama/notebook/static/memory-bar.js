// A device's memory: what the models take of it, what others do, what is free. Knows the figures of `GET /api/ps`.

import { h, setText } from "./dom.js";
import { bytes } from "./format.js";

/** @typedef {import("./store.js").Loaded} Loaded */
/** @typedef {{ name: string, full_name: string, own: boolean, total: number | null, free: number | null, exact: boolean }} Device */

const SVG = "http://www.w3.org/2000/svg";

/** What a model takes of its device's memory: of its own, or of the machine's. @param {Loaded} model @param {boolean} own */
export function held(model, own) {
  const { device, pss, rss } = model.memory;
  return (own ? device : pss ?? rss) ?? 0;
}

/** One device. @param {Device} first */
export function createMemoryBar(first) {
  const parts = ["models", "others"].map((name) => {
    const rect = document.createElementNS(SVG, "rect");
    rect.setAttribute("class", name);
    rect.setAttribute("height", "10");
    return rect;
  });
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("viewBox", "0 0 100 10");
  svg.setAttribute("preserveAspectRatio", "none");
  svg.setAttribute("aria-hidden", "true");
  svg.append(...parts);
  const title = h("h3", {}, first.name, " ", h("span", { class: "soft" }, first.full_name));
  const words = h("p");
  const element = h("li", { class: "device", dataset: { device: first.name } }, title, h("div", { class: "memory", "aria-hidden": "true" }, svg), words);
  return {
    element,
    /** @param {Device} device @param {Loaded[]} loaded all models that are loaded */
    update(device, loaded) {
      const models = loaded.filter((model) => model.device === device.name).reduce((sum, model) => sum + held(model, device.own), 0);
      const { total, free } = device;
      svg.parentElement?.classList.toggle("unknown", !total || free === null);
      const used = total && free !== null ? Math.max(total - free, 0) : models;
      const others = Math.max(used - models, 0);
      let x = 0;
      [models, others].forEach((part, index) => {
        const width = total ? Math.min((100 * part) / total, 100 - x) : 0;
        parts[index].setAttribute("x", x.toFixed(2));
        parts[index].setAttribute("width", width.toFixed(2));
        x += width;
      });
      setText(words, sentence(device, models, others));
    },
  };
}

/** @param {Device} device @param {number} models @param {number} others */
function sentence({ total, free, exact, own }, models, others) {
  const whose = own ? "its own memory" : "the machine's memory";
  const ours = models ? `models take ${bytes(models)}` : "no model takes any";
  if (!total) return `It does not tell how much memory it has; ${ours}.`;
  if (free === null) return `${bytes(total)} of ${own ? "own memory" : "the machine's memory"}; how much is free is not known; ${ours}.`;
  return `${exact ? "" : "At most "}${bytes(free)} of ${bytes(total)} of ${whose} are free; ${ours}, other programs ${bytes(others)}.`;
}
