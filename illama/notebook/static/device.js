// The tab of the devices: what is loaded where, what it does, what memory is left. Knows where each part stands.

import { createActions } from "./actions.js";
import { createChart } from "./chart.js";
import { h, setText } from "./dom.js";
import { bytes } from "./format.js";
import { createLoadedCard } from "./loaded-card.js";
import { createMemoryBar } from "./memory-bar.js";
import { createRows } from "./rows.js";

/** @typedef {import("./store.js").State} State */
/** @typedef {import("./store.js").Loaded} Loaded */
/** @typedef {import("./memory-bar.js").Device} Device */

/** @param {import("./panel.js").Context} context @returns {import("./panel.js").Part} */
export function createDevice(context) {
  const { store } = context;
  const actions = createActions(context);
  const none = h("p");
  const models = h("ul", { class: "list", "aria-label": "Loaded models" });
  const devices = h("ul", { class: "list", "aria-label": "Devices" });
  const unknown = h("p", { class: "soft" }, "Which devices there are is found out when the first model is asked for.");
  const speed = createChart({ label: "Tokens per second", unit: (value) => value.toFixed(value < 10 ? 1 : 0), least: 10 });
  const memory = createChart({ label: "Memory of the models", unit: bytes, least: 1e8 });
  const live = h("div", {}, h("h2", {}, "Devices"), devices, unknown, h("h2", {}, "The last minutes"), h("div", { class: "charts" }, speed.element, memory.element));
  /** @type {ReturnType<typeof createLoadedCard>[]} */
  let cards = [];
  const loadedRows = createRows(models, (/** @type {Loaded} */ model) => createLoadedCard(model, actions));
  const deviceRows = createRows(devices, (/** @type {Device} */ device) => createMemoryBar(device));
  /** @type {unknown} */
  let last = null;

  /** @param {State} state */
  function show(state) {
    const there = state.connection === "up";
    const fresh = state.ps !== last;
    last = state.ps;
    cards = [];
    loadedRows.show(state.loaded.map((model) => [`${model.device} ${model.name}`, model]), (row, model) => {
      row.update(model, fresh);
      cards.push(row);
    });
    models.hidden = state.loaded.length === 0;
    none.hidden = state.loaded.length > 0;
    setText(none, there && state.limited ? LIMITED : NONE[state.connection]);
    live.hidden = !there || state.limited !== null;
    if (live.hidden) return;
    const told = /** @type {Device[]} */ (state.ps.devices ?? []);
    deviceRows.show(told.map((device) => [device.name, device]), (row, device) => row.update(device, state.loaded));
    devices.hidden = told.length === 0;
    unknown.hidden = told.length > 0;
    speed.update(state.samples.map((sample) => ({ t: sample.t, value: sample.tokensPerSecond })));
    memory.update(state.samples.map((sample) => ({ t: sample.t, value: sample.memory })));
  }

  const element = h("div", { class: "device-part" }, h("h2", {}, "Loaded models"), none, models, live);
  // Who looks at another tab, or at another window, needs no countdown.
  const clock = setInterval(() => {
    if (!document.hidden && element.offsetParent) for (const card of cards) card.tick();
  }, 1000);
  show(store.state);
  const unsubscribe = store.subscribe(show);
  return {
    element,
    dispose() {
      clearInterval(clock);
      unsubscribe();
    },
  };
}

const LIMITED = "Behind this panel is an inference key, which may use models, and is not told what is loaded or who uses it. The owner's key is.";

/** What is said where nothing is loaded. @type {Record<State["connection"], string>} */
const NONE = {
  asking: "Asking the model host what is loaded…",
  starting: "The model host is starting.",
  up: "Nothing is loaded. Load a model under Models, or just ask one: the first question loads it.",
  down: "No model host answers, so nothing is known to be loaded. When it runs again, it is shown here.",
};
