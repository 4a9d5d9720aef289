// A question that wants an answer before anything is done. Knows the browser's own dialog. Does not know what is asked.

import { h } from "./dom.js";

/** @typedef {{ title: string, text: string, action: string, danger?: boolean }} Question */
/** @typedef {ReturnType<typeof createDialog>} Dialog */

/** Ask in this shadow root. @param {ShadowRoot} root */
export function createDialog(root) {
  return {
    /** Whether the person says yes. Escape says no; the focus goes back to where it was. @param {Question} question @returns {Promise<boolean>} */
    confirm({ title, text, action, danger }) {
      const before = /** @type {HTMLElement | null} */ (root.activeElement);
      const close = (/** @type {string} */ said) => () => dialog.close(said);
      const dialog = h("dialog", { "aria-labelledby": "question", "aria-describedby": "question-text" },
        h("h2", { id: "question" }, title),
        h("p", { id: "question-text" }, text),
        h("p", { class: "row end" },
          h("button", { type: "button", on: { click: close("no") } }, "Cancel"),
          h("button", { type: "button", class: danger ? "danger" : "primary", on: { click: close("yes") } }, action)));
      root.append(dialog);
      dialog.showModal();
      return new Promise((answer) => {
        dialog.addEventListener("close", () => {
          dialog.remove();
          before?.focus();
          answer(dialog.returnValue === "yes");
        });
      });
    },
  };
}
