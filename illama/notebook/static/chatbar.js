// The bar above a chat: which model, which conversation, and what can be done to it. Does not know questions or answers.

import { h, replace } from "./dom.js";

/** @typedef {import("./store.js").State} State */
/** @typedef {import("./conversations.js").Conversations} Conversations */

const TASKS = ["text-generation", "image-text-to-text"];

/** The models that one can talk with: those that are loaded, and the others. @param {State} state */
export function talkers({ models, loaded }) {
  const names = models.filter((model) => TASKS.includes(model.task ?? TASKS[0])).map((model) => model.name);
  const ready = new Set(loaded.map((model) => model.name));
  return { loaded: names.filter((name) => ready.has(name)), others: names.filter((name) => !ready.has(name)) };
}

/**
 * @param {object} context
 * @param {Conversations} context.conversations
 * @param {import("./dialog.js").Dialog} context.dialog
 * @param {() => void} context.chosen another conversation, or another model, is in front
 */
export function createBar({ conversations, dialog, chosen }) {
  const model = h("select", { "aria-label": "Model", class: "model", on: { change: choseModel } });
  const picker = h("select", { "aria-label": "Conversation", class: "conversation", on: { change: chose } });
  const title = h("input", { type: "text", "aria-label": "Name of the conversation", class: "conversation", hidden: true, maxlength: 60, on: { keydown: key, blur: renamed } });
  const begin = h("button", { type: "button", on: { click: began } }, "New");
  const rename = h("button", { type: "button", on: { click: renaming } }, "Rename");
  const remove = h("button", { type: "button", on: { click: removed } }, "Delete");
  const element = h("div", { class: "bar" }, model, h("div", { class: "row conversations" }, picker, title, begin, rename, remove));
  let before = "";

  function choseModel() {
    conversations.current.model = model.value;
    conversations.save();
    chosen();
  }

  function chose() {
    conversations.choose(picker.value);
    chosen();
  }

  function began() {
    conversations.begin();
    chosen();
  }

  function renaming() {
    title.value = conversations.current.title;
    [picker.hidden, title.hidden] = [true, false];
    title.focus();
    title.select();
  }

  /** @param {KeyboardEvent} event */
  function key(event) {
    if (event.isComposing) return;
    if (event.key === "Escape") title.value = "";
    if (event.key === "Enter" || event.key === "Escape") rename.focus();
  }

  function renamed() {
    if (title.hidden) return;
    [picker.hidden, title.hidden] = [false, true];
    conversations.rename(conversations.current, title.value);
    list();
  }

  async function removed() {
    const conversation = conversations.current;
    const text = `“${conversation.title}” is nowhere else, and cannot be brought back.`;
    if (conversation.messages.length && !(await dialog.confirm({ title: "Delete this conversation?", text, action: "Delete", danger: true }))) return;
    conversations.remove(conversation);
    chosen();
  }

  function list() {
    replace(picker, conversations.all.map((each) => h("option", { value: each.id }, each.title)));
    picker.value = conversations.current.id;
  }

  return {
    element,
    list,
    /** @param {State} state @param {string} wanted the conversation's model */
    show(state, wanted) {
      const { loaded, others } = talkers(state);
      const now = JSON.stringify([loaded, others, wanted]);
      if (now === before) return;
      before = now;
      const options = (/** @type {string[]} */ names) => names.map((name) => h("option", { value: name }, name));
      const gone = wanted && !loaded.includes(wanted) && !others.includes(wanted);
      replace(model,
        gone && h("option", { value: wanted }, `${wanted} (not installed)`),
        loaded.length > 0 && h("optgroup", { label: "Loaded" }, options(loaded)),
        others.length > 0 && h("optgroup", { label: loaded.length ? "Not loaded yet" : "Installed" }, options(others)));
      model.value = wanted;
      model.disabled = !loaded.length && !others.length;
    },
  };
}
