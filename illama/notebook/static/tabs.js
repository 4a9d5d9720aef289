// Tabs, by the keyboard too. Knows which is in front. Does not know what is in them.

import { h } from "./dom.js";

const REMEMBERED = "illama.tab";

/** @param {Record<string, import("./panel.js").Part>} parts */
export function createTabs(parts) {
  const names = Object.keys(parts);
  const buttons = names.map((name) =>
    h("button", { type: "button", role: "tab", id: `tab-${name}`, "aria-controls": `part-${name}`, on: { click: () => choose(name) } }, name));
  const panels = names.map((name) =>
    h("section", { role: "tabpanel", id: `part-${name}`, "aria-labelledby": `tab-${name}`, class: "part" }, parts[name].element));

  /** @param {string} chosen */
  function choose(chosen) {
    names.forEach((name, index) => {
      const front = name === chosen;
      buttons[index].setAttribute("aria-selected", String(front));
      buttons[index].tabIndex = front ? 0 : -1;
      panels[index].hidden = !front;
    });
    remember(chosen);
  }

  /** @param {KeyboardEvent} event */
  function step(event) {
    const now = buttons.findIndex((button) => button.getAttribute("aria-selected") === "true");
    const last = names.length - 1;
    const next = { ArrowRight: now === last ? 0 : now + 1, ArrowLeft: now ? now - 1 : last, Home: 0, End: last }[event.key];
    if (next === undefined) return;
    event.preventDefault();
    choose(names[next]);
    buttons[next].focus();
  }

  const before = remembered();
  choose(before && names.includes(before) ? before : names[0]);
  return { element: h("div", { class: "tabs" }, h("div", { role: "tablist", "aria-label": "illama", on: { keydown: step } }, buttons), panels), choose };
}

function remembered() {
  try {
    return sessionStorage.getItem(REMEMBERED);
  } catch {
    return null; // a page whose storage is shut
  }
}

/** @param {string} name */
function remember(name) {
  try {
    sessionStorage.setItem(REMEMBERED, name);
  } catch {
    // the same
  }
}
