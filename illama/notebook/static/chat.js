// The chat: questions to a model, and its answers as they come. Knows which conversation is in front.

import { createBar, talkers } from "./chatbar.js";
import { createComposer } from "./composer.js";
import { createConversations } from "./conversations.js";
import { h, replace } from "./dom.js";
import { follow } from "./following.js";
import { createSettings } from "./settings.js";
import { createThread } from "./thread.js";

/** @typedef {import("./store.js").State} State */
/** @typedef {import("./thread.js").Thread} Thread */

/** @param {import("./panel.js").Context} context @returns {import("./panel.js").Part} */
export function createChat({ store, transport, dialog, putIntoCell = null }) {
  const conversations = createConversations();
  /** @type {Map<string, Thread>} those that were looked at: an answer goes on when another one is in front */
  const threads = new Map();
  const bar = createBar({ conversations, dialog, chosen });
  const settings = createSettings(() => conversations.save());
  const composer = createComposer({ send: (text, instead) => void send(text, instead), stop: () => thread().stop() });
  const none = h("div", { class: "empty soft" });
  const place = h("div", { class: "threads" });
  const element = h("div", { class: "chat" }, bar.element, settings.element, none, place, composer.element);
  /** @type {ReturnType<typeof follow> | null} */
  let following = null;

  function thread() {
    const conversation = conversations.current;
    let found = threads.get(conversation.id);
    if (!found) {
      const edit = (/** @type {string} */ question) => composer.edit(question);
      found = createThread(conversation, { transport, conversations, putIntoCell, edit, changed });
      threads.set(conversation.id, found);
    }
    return found;
  }

  /** @param {string} text @param {boolean} instead */
  async function send(text, instead) {
    const answered = thread().ask(text, instead);
    bar.list();
    changed();
    // Only once it is in the page can what scrolls around it be known.
    following ??= follow(place);
    following.now();
    await answered;
  }

  /** Another conversation is in front. */
  function chosen() {
    composer.reset();
    forget();
    replace(place, thread().element);
    settings.show(conversations.current);
    bar.list();
    changed();
    following?.now();
  }

  /** Those that were deleted end. */
  function forget() {
    const kept = new Set(conversations.all.map((each) => each.id));
    for (const [id, each] of threads) {
      if (kept.has(id)) continue;
      each.stop();
      threads.delete(id);
    }
  }

  /** Something is other than it was: a model is there or gone, an answer has begun or ended. */
  function changed() {
    const { state } = store;
    const { loaded, others } = talkers(state);
    const first = loaded[0] ?? others[0] ?? "";
    const conversation = conversations.current;
    if (!conversation.model && first) conversation.model = first;
    bar.show(state, conversation.model);
    const known = Boolean(first);
    const { busy, empty } = thread();
    composer.show({ busy, ready: known, model: conversation.model });
    none.hidden = !empty;
    if (empty) replace(none, ...introduction(state, known));
  }

  const kept = () => conversations.save();
  window.addEventListener("pagehide", kept);
  const unsubscribe = store.subscribe(changed);
  chosen();
  return {
    element,
    dispose() {
      unsubscribe();
      following?.dispose();
      for (const each of threads.values()) each.stop();
      kept();
      window.removeEventListener("pagehide", kept);
    },
  };
}

/** What stands where no conversation is yet. @param {State} state @param {boolean} known whether there is a model */
function introduction({ connection }, known) {
  if (known) return [h("p", {}, "Ask something: the model runs on this machine’s own hardware.")];
  if (connection === "asking" || connection === "starting") return [h("p", {}, "Looking for models…")];
  if (connection === "down") return [h("p", {}, "Nobody can answer: see above.")];
  return [h("p", {}, "No model that one can talk with is installed."), h("p", {}, "Pull one on the Models tab, such as ", h("code", {}, "smollm2"), ".")];
}
