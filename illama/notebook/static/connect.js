// How other programs reach the models. Knows addresses and what to paste. Makes no keys, and keeps none.

import { talkers } from "./chatbar.js";
import { copyText } from "./clipboard.js";
import { h, setText } from "./dom.js";
import { PROGRAMS, recipe } from "./programs.js";

const NO_KEY = "YOUR-KEY";
const HIDDEN = "••••••••";

/** @param {import("./panel.js").Context} context @returns {import("./panel.js").Part} */
export function createConnect({ store, transport }) {
  if (!transport.url) {
    const text = "The address of your models, a key, and what to paste into other programs:";
    return { element: h("div", { class: "connect" }, h("p", {}, text), copied("%illama openai --key NAME", "the magic")), dispose() {} };
  }
  const url = `${transport.url}v1`;
  const here = ["localhost", "127.0.0.1", "[::1]"].includes(new URL(url).hostname);
  const key = h("input", { type: "password", id: "connect-key", autocomplete: "off", spellcheck: "false", placeholder: NO_KEY, on: { input: fill } });
  const reveal = h("button", { type: "button", "aria-pressed": false, on: { click: shown } }, "Show");
  const parts = PROGRAMS.map((program) => {
    const code = h("code");
    const copy = h("button", { type: "button", "aria-label": `Copy the text for ${program.title}`, on: { click: () => copyText(recipe(program, values(key.value)), copy) } }, "Copy");
    const element = h("section", { "aria-label": program.title },
      h("div", { class: "row" }, h("h2", {}, program.title), copy), h("pre", { tabindex: 0, "aria-label": program.title }, code));
    return { element, draw: (/** @type {string} */ shownKey) => setText(code, recipe(program, values(shownKey))) };
  });

  /** @param {string} withKey */
  function values(withKey) {
    const { loaded, others } = talkers(store.state);
    return { url, key: withKey || NO_KEY, model: loaded[0] ?? others[0] ?? "MODEL" };
  }

  function fill() {
    const open = key.type === "text";
    for (const part of parts) part.draw(key.value && !open ? HIDDEN : key.value);
  }

  function shown() {
    const open = key.type === "password";
    key.type = open ? "text" : "password";
    reveal.setAttribute("aria-pressed", String(open));
    setText(reveal, open ? "Hide" : "Show");
    fill();
  }

  fill();
  const unsubscribe = store.subscribe(fill);
  const element = h("div", { class: "connect" },
    h("p", {}, "Programs that speak OpenAI’s API or Ollama’s reach the models through this Jupyter server."),
    h("dl", {}, h("dt", {}, "OpenAI’s API"), h("dd", {}, copied(url, "the address of OpenAI’s API")),
      h("dt", {}, "Ollama’s API"), h("dd", {}, copied(transport.url.replace(/\/$/, ""), "the address of Ollama’s API"))),
    here && h("p", { class: "soft" }, "This address is for programs on this machine; from others, it is the one by which they reach this Jupyter."),
    h("h2", {}, "Key"),
    h("p", {}, "Make an inference key in a terminal. It uses models and can do nothing else; it is shown once, and revoked by ", h("code", {}, "illama key rm NAME"), ":"),
    copied("illama key add NAME", "the command"),
    h("p", { class: "soft" }, "The Jupyter token is a key too, but who has it can run code on this server: keep it out of other programs."),
    h("div", { class: "row key" }, h("label", { for: "connect-key" }, "Put a key into the texts below"), key, reveal),
    h("p", { class: "soft" }, "It is kept nowhere, and gone when this page is."),
    parts.map((part) => part.element));
  return {
    element,
    dispose() {
      key.value = "";
      unsubscribe();
    },
  };
}

/** A text with a button that copies it. @param {string} text @param {string} what */
function copied(text, what) {
  const copy = h("button", { type: "button", "aria-label": `Copy ${what}`, on: { click: () => copyText(text, copy) } }, "Copy");
  return h("div", { class: "row copied" }, h("code", {}, text), copy);
}
