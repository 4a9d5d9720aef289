// The panel's head: whether the host is there, by which way, and what to do if not. Does not know models.

import { announce, h, setText } from "./dom.js";

/** @typedef {import("./store.js").State} State */

const WORDS = {
  asking: "Looking for the host…",
  starting: "Starting the host…",
  up: "Host runs",
  down: "No model host",
};

/** @param {import("./panel.js").Context} context @returns {import("./panel.js").Part} */
export function createHead({ store, transport }) {
  const status = h("p", { class: "status" });
  const start = h("button", { type: "button", class: "primary", hidden: true, on: { click: () => store.start() } }, "Start it");
  const again = h("button", { type: "button", hidden: true, on: { click: () => store.refresh() } }, "Try again");
  const message = h("strong");
  const hint = h("span");
  const problem = h("div", { class: "problem", role: "alert", hidden: true }, h("p", {}, message, " ", hint));
  const way = h("details", { class: "way" }, h("summary", {}, `via ${transport.name}`), h("p", {}, transport.describe));
  const element = h("header", {}, h("div", { class: "row" }, h("h1", {}, "illama"), status, start, again, way), problem);
  let before = "";

  /** @param {State} state */
  function show(state) {
    const { connection, problem: why } = state;
    // Whether a host is gone, or the way to it.
    const away = connection === "down" && why !== null && (why.status === 0 || why.status === 401);
    element.dataset.connection = connection;
    const gone = why?.status === 401 ? "Logged out" : "Out of reach";
    setText(status, away ? gone : connection === "up" && state.version ? `${WORDS.up} (${state.version})` : WORDS[connection]);
    const trouble = connection === "down" ? why : null;
    problem.hidden = !trouble;
    setText(message, trouble?.message ?? "");
    start.hidden = connection !== "down" || away;
    setText(hint, trouble?.hint ?? "");
    again.hidden = !away;
    const said = away ? gone : WORDS[connection];
    if (before && said !== before) announce(said);
    before = said;
  }

  show(store.state);
  const unsubscribe = store.subscribe(show);
  return { element, dispose: unsubscribe };
}
