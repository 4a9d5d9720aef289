// Copying a text, also where the browser's clipboard is shut: on pages that come by plain HTTP from another machine.

import { announce, h } from "./dom.js";

/** Copy a text, and say on the button, and to who listens, whether it went well. @param {string} text @param {HTMLElement} button */
export async function copyText(text, button) {
  const done = (await byClipboard(text)) || bySelection(text, button);
  const label = button.dataset.label ?? button.textContent ?? "";
  button.dataset.label = label;
  if (button.firstChild instanceof Text) button.firstChild.data = done ? "Copied" : "Not copied";
  announce(done ? "Copied" : "The browser does not let this page copy: select the text and press Ctrl+C.");
  setTimeout(() => {
    if (button.firstChild instanceof Text) button.firstChild.data = label;
  }, 1500);
  return done;
}

/** @param {string} text */
async function byClipboard(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    return false; // refused, or not there at all
  }
}

/** The older way: what is selected is copied. @param {string} text @param {HTMLElement} near */
function bySelection(text, near) {
  const root = near.getRootNode();
  const place = h("textarea", { class: "spoken", "aria-hidden": "true", tabindex: "-1" });
  place.value = text;
  (root instanceof ShadowRoot ? root : document.body).append(place);
  place.select();
  try {
    return document.execCommand("copy");
  } catch {
    return false;
  } finally {
    place.remove();
    near.focus();
  }
}
