// One installed model: what it is, whether it is loaded, what can be done to it. Only what has changed is touched.

import { createDetails } from "./model-details.js";
import { h, setText } from "./dom.js";
import { bytes, count } from "./format.js";
import { createNotice } from "./notice.js";
import { isAbort } from "./transport.js";
import { state, task } from "./words.js";

/** @typedef {import("./store.js").Tag} Tag */
/** @typedef {import("./store.js").Loaded} Loaded */
/** @typedef {ReturnType<typeof createModelRow>} ModelRow */

let rows = 0;

/**
 * @param {Tag} first
 * @param {import("./panel.js").Context} context
 * @param {import("./actions.js").Actions} actions
 * @param {(said: string) => void} tell where what outlives the row is said
 */
export function createModelRow(first, context, actions, tell) {
  let tag = first;
  /** @type {Loaded | undefined} */
  let loaded;
  let seen = "";
  let version = "";
  let leaves = false;
  /** @type {AbortController | null} */
  let loads = null;
  /** @type {ReturnType<typeof createDetails> | null} */
  let details = null;
  const id = `model-${(rows += 1)}`;
  const notice = createNotice();
  const name = h("span", { class: "name" }, tag.name);
  const toggle = h("button", { type: "button", class: "plain toggle", "aria-expanded": "false", "aria-controls": id, on: { click: open } }, name);
  const mark = h("span", { class: "mark" });
  const cells = ["task", "weights", "size", "context"].map((cell) => h("span", { class: `cell ${cell}` }));
  const labels = ["", "weights ", "", "context "].map((label) => h("span", { class: "spoken" }, label));
  const values = cells.map((cell, index) => {
    const value = h("span");
    cell.append(labels[index], value);
    return value;
  });
  const use = h("button", { type: "button", on: { click: change } });
  const remove = h("button", { type: "button", class: "danger", "aria-label": `Remove ${tag.name}`, on: { click: removeIt } }, "Remove");
  const more = h("div", { class: "more", id, hidden: true });
  const element = h("li", { class: "model", dataset: { model: tag.name } },
    h("span", { class: "title" }, toggle, mark), cells, h("span", { class: "actions" }, use, remove), notice.element, more);

  async function open() {
    const opening = more.hidden;
    toggle.setAttribute("aria-expanded", String(opening));
    more.hidden = !opening;
    if (!opening) return;
    details ??= createDetails(context.transport);
    if (!more.firstChild) more.append(details.element);
    await details.show(tag);
  }

  /** What the first button does now, its words, and whether it can be pressed. @returns {["load" | "stop" | "unload" | "", string]} */
  function offer() {
    if (leaves || loaded?.state === "draining" || loaded?.state === "unloading") return ["", "Unloading…"];
    if (loaded?.state === "loading" || loads) return ["stop", "Stop loading"];
    return loaded ? ["unload", "Unload"] : ["load", "Load"];
  }

  async function change() {
    const [what] = offer();
    if (what === "load") {
      loads = new AbortController();
      await attempt(() => actions.load(tag.name, loads?.signal));
      loads = null;
    } else if (what === "stop" && loads) {
      // Who else waits for the same load keeps it.
      loads.abort();
    } else if (what) {
      leaves = true;
      await attempt(() => actions.unload(tag.name));
      leaves = false;
    }
    draw();
  }

  async function removeIt() {
    if (leaves) return;
    await attempt(async () => {
      const said = await actions.remove(tag);
      if (said) tell(said);
    });
  }

  /** @param {() => Promise<void>} what */
  async function attempt(what) {
    notice.clear();
    draw();
    try {
      await what();
    } catch (error) {
      if (!isAbort(error)) notice.fail(error);
    }
  }

  function draw() {
    const [sign, words] = loaded ? state(loaded.state) : loads ? ["◌", "waiting for the device"] : ["", ""];
    setText(mark, `${sign} ${words}`.trim());
    element.classList.toggle("loaded", loaded?.state === "ready");
    const [what, text] = offer();
    setText(use, text);
    use.setAttribute("aria-label", `${text} ${tag.name}`);
    use.setAttribute("aria-disabled", String(!what));
  }

  return {
    element,
    /** @param {Tag} now @param {Loaded | undefined} how @param {boolean} manage @param {boolean} operate whether it may be loaded and unloaded */
    update(now, how, manage, operate) {
      [tag, loaded] = [now, how];
      const key = [now.digest, now.modified_at, now.task, now.size, now.weight_format, now.context_length, how?.state, manage, operate].join("\n");
      if (key === seen) return;
      seen = key;
      const made = now.digest + now.modified_at;
      if (version !== made && version !== "" && !more.hidden) details?.show(now);
      version = made;
      const format = now.weight_format ?? "";
      const texts = [task(now.task), format, bytes(now.size), now.context_length ? `${count(now.context_length)} tokens` : ""];
      texts.forEach((text, index) => {
        setText(values[index], text);
        cells[index].hidden = text === "";
      });
      remove.hidden = !manage;
      use.hidden = !operate;
      draw();
    },
  };
}
