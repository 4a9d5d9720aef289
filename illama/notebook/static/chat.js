// The chat: questions to a model, and its answers as they come.

import { announce, h, replace } from "./dom.js";
import { asApiError, isAbort } from "./transport.js";

/** @typedef {import("./store.js").State} State */

/** @param {import("./panel.js").Context} context @returns {import("./panel.js").Part} */
export function createChat({ store, transport }) {
  /** @type {{ role: string, content: string }[]} */
  const messages = [];
  /** @type {AbortController | null} */
  let asking = null;
  const picker = h("select", { "aria-label": "Model" });
  const log = h("div", { class: "log", role: "log", "aria-label": "Conversation" });
  const text = h("textarea", { rows: 3, "aria-label": "Question", placeholder: "Ask the model", on: { keydown: key } });
  const send = h("button", { type: "submit", class: "primary" }, "Send");
  const stop = h("button", { type: "button", hidden: true, on: { click: () => asking?.abort() } }, "Stop");
  const form = h("form", { class: "stack", on: { submit: ask } }, text, h("p", { class: "row end" }, stop, send));

  /** @param {KeyboardEvent} event */
  function key(event) {
    if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
      event.preventDefault();
      form.requestSubmit();
    }
  }

  /** @param {SubmitEvent} event */
  async function ask(event) {
    event.preventDefault();
    const question = text.value.trim();
    if (!question || asking || !picker.value) return;
    text.value = "";
    messages.push({ role: "user", content: question });
    const answer = h("p", { class: "answer" });
    log.append(h("p", { class: "question" }, question), answer);
    asking = new AbortController();
    stop.hidden = false;
    send.disabled = true;
    try {
      const body = { model: picker.value, messages, stream: true };
      for await (const chunk of transport.stream("POST", "/v1/chat/completions", body, { signal: asking.signal })) {
        answer.append(chunk.choices?.[0]?.delta?.content ?? "");
      }
      announce("The answer is complete");
    } catch (error) {
      const { message, hint } = asApiError(error);
      if (!isAbort(error)) log.append(h("p", { class: "problem", role: "alert" }, h("strong", {}, message), " ", hint));
    } finally {
      messages.push({ role: "assistant", content: answer.textContent ?? "" });
      asking = null;
      stop.hidden = true;
      send.disabled = false;
    }
  }

  let before = "";
  /** @param {State} state */
  function show(state) {
    const names = state.models.filter((model) => model.task === "text-generation" || model.task === "image-text-to-text").map((model) => model.name);
    if (names.join("\n") === before) return;
    before = names.join("\n");
    const chosen = picker.value || state.loaded[0]?.name;
    replace(picker, names.map((name) => h("option", { value: name }, name)));
    if (chosen && names.includes(chosen)) picker.value = chosen;
  }

  show(store.state);
  const unsubscribe = store.subscribe(show);
  return {
    element: h("div", { class: "stack" }, picker, log, form),
    dispose() {
      asking?.abort();
      unsubscribe();
    },
  };
}
