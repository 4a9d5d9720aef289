// All that the host has recorded about a model. Knows the answer of `POST /api/show`. Changes nothing.

import { h, replace } from "./dom.js";
import { bytes, count, plural } from "./format.js";
import { createNotice } from "./notice.js";
import { task } from "./words.js";

/** @typedef {import("./transport.js").Transport} Transport */

/** @param {Transport} transport */
export function createDetails(transport) {
  const notice = createNotice();
  const body = h("div");
  let asked = 0;

  /** Ask for a model's details and show them. @param {{ name: string }} model */
  async function show({ name }) {
    const mine = (asked += 1);
    notice.clear();
    if (!body.firstChild) replace(body, h("p", { class: "soft" }, "Asking the host…"));
    try {
      const told = await transport.ask("POST", "/api/show", { model: name });
      if (mine === asked) replace(body, list(told), long("Chat template", told.template), long("Sampling defaults", told.parameters));
    } catch (error) {
      if (mine !== asked) return;
      body.replaceChildren();
      notice.fail(error, h("button", { type: "button", on: { click: () => show({ name }) } }, "Try again"));
    }
  }

  return { element: h("div", { class: "details" }, body, notice.element), show };
}

/** @param {any} told */
function list(told) {
  const entry = told.entry ?? {};
  const files = Object.keys(entry.files ?? {}).length;
  const source = entry.source ?? {};
  /** @type {[string, any][]} */
  const rows = [
    ["Licence", told.license || "not told: look at its source before you use it"],
    ["For", task(entry.task)],
    ["Can", (told.capabilities ?? []).join(", ")],
    ["Architecture", entry.architecture],
    ["Weights", entry.weight_format],
    ["Size", files ? `${bytes(entry.size)} in ${plural(files, "file")}` : bytes(entry.size)],
    ["Context", entry.context_length && `${count(entry.context_length)} tokens`],
    ["Chat template", told.template ? "yes" : "none: it continues text, it does not converse"],
    ["Source", source.repo || source.repo_id || source.package || source.file || source.kind],
    ["Revision", source.revision || source.version],
    ["Made with", pairs(entry.recipe)],
    ["Options", pairs(entry.options)],
    ["Device", entry.device],
    ["Also called", (entry.aliases ?? []).join(", ")],
    ["Pulled", entry.created && new Date(entry.created).toLocaleString()],
    ["Weights' sha256", entry.digest && h("code", {}, entry.digest)],
  ];
  return h("dl", {}, rows.filter(([, value]) => value).flatMap(([label, value]) => [h("dt", {}, label), h("dd", {}, value)]));
}

/** @param {Record<string, any> | undefined} found */
function pairs(found) {
  const told = Object.entries(found ?? {}).filter(([, value]) => value !== null && value !== "" && value !== undefined);
  if (!told.length) return null;
  const text = (/** @type {any} */ value) => {
    if (typeof value === "string") return value;
    const inner = value && typeof value === "object" && !Array.isArray(value) ? Object.entries(value) : null;
    return inner ? inner.map(([key, each]) => `${key} ${each}`).join(", ") : JSON.stringify(value);
  };
  return h("ul", { class: "pairs" }, told.map(([name, value]) => h("li", {}, `${name}: ${text(value)}`)));
}

/** @param {string} title @param {string | undefined} text */
function long(title, text) {
  if (!text) return null;
  // Whoever moves by keys alone must be able to scroll it.
  return h("details", {}, h("summary", {}, title), h("pre", { tabindex: "0", role: "region", "aria-label": title }, text));
}
