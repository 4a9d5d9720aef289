// Elements: made by name, filled with text, never from markup. Knows the DOM. Does not know what is shown.

/** @typedef {Node | string | number | null | undefined | false} Child */

/**
 * Make an element. `on` has its listeners by event, `dataset` its data; what is false, null or undefined is left out.
 * Text becomes text, whatever it holds.
 * @template {keyof HTMLElementTagNameMap} Tag
 * @param {Tag} tag
 * @param {Record<string, any>} [props] attributes; `class`, `on`, `dataset`, and as properties `value`, `checked`, `disabled`, `hidden`
 * @param {...(Child | Child[])} children
 * @returns {HTMLElementTagNameMap[Tag]}
 */
export function h(tag, props = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(props)) {
    if (value === undefined || value === null) continue;
    if (name === "on") for (const [event, listener] of Object.entries(value)) element.addEventListener(event, listener);
    else if (name === "dataset") Object.assign(element.dataset, value);
    else if (name === "value" || name === "checked" || name === "disabled" || name === "hidden") /** @type {any} */ (element)[name] = value;
    else if (/^on|^style$|^srcdoc$/i.test(name)) throw new TypeError(`${name} is not set here`);
    else if (value === true) element.setAttribute(name, name.startsWith("aria-") ? "true" : "");
    else if (value !== false || name.startsWith("aria-")) element.setAttribute(name, String(value));
  }
  append(element, children);
  return element;
}

/** @param {ParentNode & Node} place @param {(Child | Child[])[]} children */
function append(place, children) {
  for (const child of children.flat()) {
    if (child === null || child === undefined || child === false) continue;
    place.append(child instanceof Node ? child : String(child));
  }
}

/** Put these in the place of what an element holds. @param {Element} place @param {...(Child | Child[])} children */
export function replace(place, ...children) {
  place.replaceChildren();
  append(place, children);
}

/** Change an element's text, if it is another one: so that screen readers are told of changes alone. @param {Element} place @param {string} text */
export function setText(place, text) {
  if (place.textContent !== text) place.textContent = text;
}

/** @type {HTMLElement[]} */
const regions = [];

/** The region whose text a screen reader speaks when it changes; one for each panel. */
export function liveRegion() {
  const region = h("p", { class: "spoken", role: "status", "aria-live": "polite" });
  regions.push(region);
  return region;
}

/** Tell those who do not see it what has happened. @param {string} text */
export function announce(text) {
  for (const region of regions.filter((each) => !each.isConnected)) regions.splice(regions.indexOf(region), 1);
  const region = regions.at(-1);
  // The same words a second time are news too.
  if (region) region.textContent = region.textContent === text ? `${text}\u00a0` : text;
}
