// How other programs reach the models.

import { h } from "./dom.js";

/** @param {import("./panel.js").Context} context @returns {import("./panel.js").Part} */
export function createConnect({ transport }) {
  const element = transport.url
    ? h("dl", {}, h("dt", {}, "OpenAI’s API"), h("dd", {}, h("code", {}, `${transport.url}v1`)),
      h("dt", {}, "Ollama’s API"), h("dd", {}, h("code", {}, `${transport.url}api`)))
    : h("p", { class: "soft" }, "%illama url shows the address for other programs.");
  return { element, dispose() {} };
}
