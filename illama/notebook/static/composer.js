// Where a question is written. Knows the keyboard. Does not know who is asked.

import { h } from "./dom.js";

/**
 * @param {object} actions
 * @param {(text: string, instead: boolean) => void} actions.send `instead`: in the place of the last question
 * @param {() => void} actions.stop
 */
export function createComposer({ send, stop }) {
  const text = h("textarea", { rows: 2, "aria-label": "Question", placeholder: "Ask the model", on: { keydown: key } });
  const sendIt = h("button", { type: "submit", class: "primary" }, "Send");
  const stopIt = h("button", { type: "button", class: "primary", hidden: true, on: { click: stop } }, "Stop");
  const cancel = h("button", { type: "button", hidden: true, on: { click: () => editing(false) } }, "Keep the question as it was");
  const keys = h("span", { class: "soft keys" }, "Enter sends, Shift+Enter makes a line");
  const element = h("form", { class: "composer", on: { submit: submitted } }, text, h("div", { class: "row end" }, keys, cancel, stopIt, sendIt));
  let instead = false;
  let busy = false;
  let ready = false;

  /** @param {KeyboardEvent} event */
  function key(event) {
    // What an input method is composing is not sent; some browsers tell of it by the key code alone.
    const composing = event.isComposing || event.keyCode === 229;
    if (event.key !== "Enter" || event.shiftKey || composing) return;
    event.preventDefault();
    element.requestSubmit();
  }

  /** @param {SubmitEvent} event */
  function submitted(event) {
    event.preventDefault();
    const question = text.value.trim();
    if (!question || busy || !ready) return;
    const replaces = instead;
    editing(false);
    text.value = "";
    send(question, replaces);
  }

  /** @param {boolean} now */
  function editing(now) {
    if (!now && instead) text.value = "";
    instead = now;
    cancel.hidden = !now;
    sendIt.firstChild && (sendIt.firstChild.textContent = now ? "Send instead" : "Send");
  }

  return {
    element,
    /** Change a question that was asked before. @param {string} question */
    edit(question) {
      editing(true);
      text.value = question;
      text.focus();
    },
    /** @param {{ busy: boolean, ready: boolean, model: string }} now whether it is being answered, and whether there is a model */
    show(now) {
      ({ busy, ready } = now);
      const stopHadFocus = stopIt.matches(":focus");
      stopIt.hidden = !busy;
      sendIt.hidden = busy;
      sendIt.disabled = !ready;
      text.placeholder = now.model ? `Ask ${now.model}` : "Ask the model";
      // The focus does not fall into nothing with the button that had it.
      if (stopHadFocus && !busy) text.focus();
    },
    /** Another conversation is in front. */
    reset() {
      editing(false);
    },
    focus: () => text.focus(),
  };
}
