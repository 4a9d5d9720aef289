// The panel: its head, its four tabs, its styles. Knows where each part stands. Does not know what is in a tab.

import { cellWriter } from "./cells.js";
import { createChat } from "./chat.js";
import { createConnect } from "./connect.js";
import { createDevice } from "./device.js";
import { createDialog } from "./dialog.js";
import { h, liveRegion } from "./dom.js";
import { createHead } from "./head.js";
import { createModels } from "./models.js";
import { createStore } from "./store.js";
import { createTabs } from "./tabs.js";
import { watched } from "./watched.js";

/** @typedef {import("./transport.js").Transport} Transport */
/** What every tab is given. @typedef {{ store: import("./store.js").Store, transport: Transport, dialog: import("./dialog.js").Dialog,
 *   putIntoCell?: import("./cells.js").CellWriter | null }} Context putIntoCell is null or absent where there is no notebook */
/** What every tab is. @typedef {{ element: HTMLElement, dispose: () => void }} Part */

export const STYLES = ["panel.css", "chat.css", "models.css", "device.css", "connect.css"];

/**
 * Put the panel into an element of the page.
 * @param {HTMLElement} host
 * @param {Transport} transport
 * @param {{ css?: string }} [options] the styles' text, where they cannot be fetched
 */
export function mount(host, transport, { css } = {}) {
  host.classList.add("illama-panel");
  // JupyterLab's shortcuts are not meant for who types here.
  host.dataset.lmSuppressShortcuts = "true";
  const root = host.attachShadow({ mode: "open" });
  const store = createStore(transport);
  /** @type {Context} */
  const context = { store, transport: watched(transport, store.refresh), dialog: createDialog(root), putIntoCell: cellWriter() };
  const head = createHead(context);
  const parts = { Chat: createChat(context), Models: createModels(context), Device: createDevice(context), Connect: createConnect(context) };
  const tabs = createTabs(parts);
  const shell = h("div", { class: "shell" }, head.element, tabs.element, liveRegion());
  style(root, css, shell);
  root.append(shell);

  const stay = (/** @type {Event} */ event) => event.stopPropagation();
  for (const name of ["keydown", "keyup", "keypress", "contextmenu"]) root.addEventListener(name, stay);
  const seen = new IntersectionObserver((entries) => store.setShown(entries.some((entry) => entry.isIntersecting)));
  seen.observe(host);
  const unfollow = followTheme(host);

  return {
    dispose() {
      seen.disconnect();
      unfollow();
      for (const part of [head, ...Object.values(parts)]) part.dispose();
      store.dispose();
      transport.dispose?.();
      root.replaceChildren();
    },
  };
}

/** @param {ShadowRoot} root @param {string | undefined} css @param {HTMLElement} shell */
function style(root, css, shell) {
  if (css !== undefined) {
    const sheet = new CSSStyleSheet();
    sheet.replaceSync(css);
    root.adoptedStyleSheets = [sheet];
    return;
  }
  const links = STYLES.map((name) => h("link", { rel: "stylesheet", href: new URL(name, import.meta.url).href }));
  // Nothing is seen without its looks; where they do not come, it is seen all the same.
  shell.hidden = true;
  const ends = links.map((link) => new Promise((done) => ["load", "error"].forEach((name) => link.addEventListener(name, done))));
  Promise.all(ends).then(() => (shell.hidden = false));
  root.append(...links);
}

/** Tell the browser's own controls whether JupyterLab is dark. @param {HTMLElement} host */
function followTheme(host) {
  const look = () => {
    const light = document.body.dataset.jpThemeLight;
    if (light) host.dataset.theme = light === "true" ? "light" : "dark";
  };
  const observer = new MutationObserver(look);
  observer.observe(document.body, { attributes: true, attributeFilter: ["data-jp-theme-light"] });
  look();
  return () => observer.disconnect();
}
