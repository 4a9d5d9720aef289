// An answer's Markdown as elements, while it arrives. Knows shapes and the DOM. Does not know what Markdown is made of.
//
// It writes at most once in a frame, and then changes only what differs from the frame before: the blocks that have
// ended are not looked at again, and of the last one mostly a text gets longer. Selections and scrolled code stay.

import { blocks } from "./blocks.js";
import { copyText } from "./clipboard.js";

/** @typedef {import("./inline.js").Shape} Shape */
/** @typedef {import("./inline.js").Piece} Piece */

/**
 * Make an element that shows a text which grows.
 * @returns {{element: HTMLElement, append(text: string): void, finish(): void}}
 */
export function createMarkdown() {
  const element = document.createElement("div");
  element.className = "markdown";
  element.dir = "auto";
  element.addEventListener("click", copyCode);
  let arrived = "";
  let frame = 0;
  let settled = 0; // how many of the element's children have ended
  let last = ""; // the text of those that have not
  /** @type {Piece[]} */
  let shown = [];

  function draw() {
    frame = 0;
    const fresh = arrived.includes("\n");
    last += arrived;
    arrived = "";
    const lines = last.split(/\r?\n/);
    const wanted = blocks(lines);
    patch(element, shown, wanted, settled);
    shown = wanted;
    if (!fresh) return;
    // A line that has not ended may still come to mean something else, and so may the last block of those that have.
    const ended = blocks(lines.slice(0, -1)).length - 1;
    if (ended <= 0) return;
    for (let index = settled; index < settled + ended; index++) element.children[index].classList.add("settled");
    settled += ended;
    last = lines.slice(wanted[ended].start).join("\n");
    shown = wanted.slice(ended);
  }

  return {
    element,
    /** Show this too, in the next frame. */
    append(text) {
      arrived += text;
      if (!frame) frame = requestAnimationFrame(draw);
    },
    /** Show all of it now. */
    finish() {
      cancelAnimationFrame(frame);
      draw();
    },
  };
}

/**
 * Make an element's children from `offset` on, which are as `before` says, be as `after` says.
 * @param {Element} parent @param {Piece[]} before @param {Piece[]} after @param {number} [offset]
 */
function patch(parent, before, after, offset = 0) {
  for (let index = 0; index < after.length; index++) {
    const [old, wanted] = [before[index], after[index]];
    const node = parent.childNodes[offset + index];
    if (old === undefined) parent.append(made(wanted));
    else if (typeof old === "string" && typeof wanted === "string") changeText(/** @type {Text} */ (node), old, wanted);
    else if (typeof old === "string" || typeof wanted === "string" || old.tag !== wanted.tag) node.replaceWith(made(wanted));
    else {
      changeAttributes(/** @type {Element} */ (node), old.attributes ?? {}, wanted.attributes ?? {});
      patch(/** @type {Element} */ (node), old.children, wanted.children);
    }
  }
  for (let gone = before.length; gone > after.length; gone--) parent.lastChild?.remove();
}

/** @param {Text} node @param {string} old @param {string} wanted */
function changeText(node, old, wanted) {
  if (old === wanted) return;
  if (wanted.startsWith(old)) node.appendData(wanted.slice(old.length));
  else node.data = wanted;
}

/** @param {Element} element @param {Record<string, string>} old @param {Record<string, string>} wanted */
function changeAttributes(element, old, wanted) {
  for (const name of Object.keys(old)) if (!(name in wanted)) element.removeAttribute(name);
  for (const [name, value] of Object.entries(wanted)) if (old[name] !== value) element.setAttribute(name, value);
}

/** @param {Piece} piece @returns {Node} */
function made(piece) {
  if (typeof piece === "string") return document.createTextNode(piece);
  const element = document.createElement(piece.tag);
  changeAttributes(element, {}, piece.attributes ?? {});
  element.append(...piece.children.map(made));
  return element;
}

/** @param {Event} event */
function copyCode(event) {
  const button = event.target instanceof Element ? event.target.closest("button.copy-code") : null;
  if (button) copyText(button.closest(".code")?.querySelector("pre")?.textContent ?? "", /** @type {HTMLElement} */ (button));
}
