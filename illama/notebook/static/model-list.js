// The installed models as a list to filter and sort. Knows order and what matches. Does not know what can be done to one.

import { announce, h, setText } from "./dom.js";
import { plural } from "./format.js";
import { createModelRow } from "./model-row.js";
import { createRows } from "./rows.js";
import { task } from "./words.js";

/** @typedef {import("./store.js").State} State */
/** @typedef {import("./store.js").Tag} Tag */

// Fewer than this can be seen at a glance.
const MANY = 8;

/** @type {Record<string, [label: string, compare: (a: Tag, b: Tag) => number]>} */
const ORDERS = {
  name: ["name", (a, b) => a.name.localeCompare(b.name)],
  size: ["size, largest first", (a, b) => b.size - a.size],
  new: ["newest first", (a, b) => b.modified_at.localeCompare(a.modified_at)],
  context: ["context, longest first", (a, b) => (b.context_length ?? 0) - (a.context_length ?? 0)],
  task: ["task", (a, b) => a.task.localeCompare(b.task)],
};

/**
 * @param {import("./panel.js").Context} context
 * @param {import("./actions.js").Actions} actions
 * @param {(said: string) => void} tell
 */
export function createModelList(context, actions, tell) {
  const filter = h("input", { type: "search", id: "filter", placeholder: "name, task or weights", on: { input: () => draw(true) } });
  const order = h("select", { id: "order", on: { change: () => draw(false) } },
    Object.entries(ORDERS).map(([value, [label]]) => h("option", { value }, label)));
  const shown = h("p", { class: "soft shown" });
  const tools = h("div", { class: "row tools", role: "search", hidden: true },
    h("label", { for: "filter" }, "Filter"), filter, h("label", { for: "order" }, "Sort by"), order, shown);
  const list = h("ul", { class: "list models", "aria-label": "Models" });
  const nothing = h("p", { class: "soft", hidden: true });
  const rows = createRows(list, (/** @type {Tag} */ tag) => createModelRow(tag, context, actions, tell));
  /** @type {Tag[]} */
  let sorted = [];
  /** @type {Tag[]} */
  let source = [];
  let before = "";

  /** @param {boolean} spoken whether what is left is told to who cannot see it */
  function draw(spoken) {
    const { models, loaded, manage, limited } = context.store.state;
    const sign = order.value;
    // The store has another array when what is installed has changed, and only then.
    if (sign !== before || source !== models) {
      sorted = [...models].sort((a, b) => ORDERS[sign][1](a, b) || a.name.localeCompare(b.name));
      [before, source] = [sign, models];
    }
    const now = new Map(loaded.map((model) => [model.name, model]));
    const wanted = filter.value.trim().toLowerCase();
    let left = 0;
    rows.show(sorted.map((tag) => [tag.name, tag]), (row, tag) => {
      row.update(tag, now.get(tag.name), manage, !limited);
      const fits = !wanted || text(tag).includes(wanted);
      row.element.hidden = !fits;
      if (fits) left += 1;
    });
    tools.hidden = models.length < MANY && !wanted;
    const said = left === models.length ? plural(left, "model") : `${left} of ${plural(models.length, "model")}`;
    setText(shown, said);
    setText(nothing, `No model matches “${filter.value.trim()}”.`);
    nothing.hidden = left > 0 || models.length === 0;
    if (spoken) announce(said);
  }

  return { element: h("div", { class: "installed" }, tools, list, nothing), draw: () => draw(false) };
}

/** @type {WeakMap<Tag, string>} */
const texts = new WeakMap();

/** What of a model is looked through. @param {Tag} tag */
function text(tag) {
  const known = texts.get(tag);
  if (known !== undefined) return known;
  const made = [tag.name, tag.task, task(tag.task), tag.weight_format ?? "", ...tag.aliases].join("\n").toLowerCase();
  texts.set(tag, made);
  return made;
}
