// A conversation's system prompt and sampling. Knows what values there can be. Does not know what they are used for.

import { h } from "./dom.js";

/** @typedef {import("./conversations.js").Conversation} Conversation */

/** What can be set: the API's name, its label, its bounds, its step. @type {[string, string, number, number, string][]} */
const SAMPLING = [
  ["temperature", "Temperature", 0, 2, "any"],
  ["top_p", "Top p", 0.01, 1, "any"],
  ["max_tokens", "Max tokens", 1, 1_000_000, "1"],
  ["seed", "Seed", 0, 4_294_967_295, "1"],
];

/** @param {() => void} changed */
export function createSettings(changed) {
  /** @type {Conversation | null} */
  let shown = null;
  const system = h("textarea", { rows: 3, id: "chat-system", placeholder: "How the model shall answer", on: { input: took, change: kept } });
  const inputs = SAMPLING.map(([name, , min, max, step]) =>
    h("input", { type: "number", id: `chat-${name}`, name, min, max, step, placeholder: "its own", inputmode: "decimal", on: { input: took, change: kept } }));
  const fields = SAMPLING.map(([name, label], index) => h("div", { class: "field" }, h("label", { for: `chat-${name}` }, label), inputs[index]));
  const summary = h("summary", {}, "Settings");
  const element = h("details", { class: "settings" }, summary,
    h("label", { for: "chat-system" }, "System prompt"), system, h("div", { class: "fields" }, fields),
    h("p", { class: "soft" }, "What is left empty is as the model’s makers set it. The settings are this conversation’s own."));

  function took() {
    if (!shown) return;
    shown.system = system.value;
    shown.sampling = {};
    for (const input of inputs) {
      if (input.value && input.checkValidity()) shown.sampling[input.name] = input.valueAsNumber;
    }
    tell();
  }

  /** @param {Event} event */
  function kept(event) {
    // The browser says what is wrong with a value, which is not used then.
    /** @type {HTMLInputElement} */ (event.target).reportValidity();
    changed();
  }

  function tell() {
    const count = Object.keys(shown?.sampling ?? {}).length + (shown?.system.trim() ? 1 : 0);
    summary.textContent = count ? `Settings (${count} set)` : "Settings";
  }

  return {
    element,
    /** @param {Conversation} conversation */
    show(conversation) {
      shown = conversation;
      system.value = conversation.system;
      for (const input of inputs) input.value = String(conversation.sampling[input.name] ?? "");
      tell();
    },
  };
}
