// The device: what is loaded on it, and what that does.

import { h, replace } from "./dom.js";
import { bytes, duration } from "./format.js";

/** @typedef {import("./store.js").State} State */

/** @param {import("./panel.js").Context} context @returns {import("./panel.js").Part} */
export function createDevice({ store }) {
  const list = h("ul", { class: "list", "aria-label": "Loaded models" });
  const none = h("p", { class: "soft" });

  /** @param {State} state */
  function show(state) {
    replace(list, state.loaded.map((model) => h("li", { dataset: { model: model.name } },
      h("span", { class: "name" }, model.name),
      h("span", { class: "soft" }, [
        `${model.state} on ${model.device}`, bytes(model.size), `${model.running} running, ${model.queued} waiting`,
        model.until_seconds === null ? "" : `unloads in ${duration(model.until_seconds)}`,
      ].filter(Boolean).join(" · ")))));
    none.hidden = state.loaded.length > 0;
    none.textContent = state.connection === "up" ? "No model is loaded: the first question for one loads it." : "The host knows what is loaded.";
  }

  show(store.state);
  const unsubscribe = store.subscribe(show);
  return { element: h("div", {}, list, none), dispose: unsubscribe };
}
