// What went wrong, shown where it happened: what it was and what to do. Knows errors. Does not know requests.

import { h, replace } from "./dom.js";
import { asApiError } from "./transport.js";

/** @typedef {ReturnType<typeof createNotice>} Notice */

/** A place for one error at a time, or for a sentence about what came out well. */
export function createNotice() {
  const element = h("div", { class: "notice", role: "status", hidden: true });
  const close = h("button", { type: "button", class: "plain", "aria-label": "Dismiss this message", on: { click: clear } }, "×");

  function clear() {
    element.hidden = true;
    element.replaceChildren();
  }

  return {
    element,
    clear,
    /** @param {unknown} error @param {...HTMLElement} actions buttons that are offered beside it */
    fail(error, ...actions) {
      const { message, hint } = asApiError(error);
      element.className = "notice problem";
      replace(element, h("p", {}, h("strong", {}, message), hint && ` ${hint}`), h("span", { class: "row" }, actions, close));
      element.hidden = false;
    },
    /** @param {string} text @param {...HTMLElement} actions */
    tell(text, ...actions) {
      element.className = "notice";
      replace(element, h("p", {}, text), h("span", { class: "row" }, actions, close));
      element.hidden = false;
    },
  };
}
