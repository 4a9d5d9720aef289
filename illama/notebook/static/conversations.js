// The conversations of this browser tab, kept over a reload and no longer. Knows storage. Does not know elements or models.
//
// The session's storage, not the local one: on a machine that people share the next one finds nothing. It is bounded, as
// the browser bounds it: when there is no room the oldest conversation is no longer kept, though it can still be seen.

/**
 * @typedef {object} Message
 * @property {"user" | "assistant"} role
 * @property {string} content
 * @property {string} [reasoning] what the model thought before it answered
 * @property {string} [model] who answered
 * @property {"stop" | "length" | "stopped" | "failed"} [end] how the answer ended
 * @property {Record<string, any>} [timings]
 */
/** @typedef {{ id: string, title: string, named: boolean, system: string, sampling: Record<string, number>, model: string, messages: Message[] }} Conversation */
/** @typedef {ReturnType<typeof createConversations>} Conversations */

const KEY = "illama.conversations";
// Characters; browsers give a page five million and more.
const ROOM = 2_000_000;
const TITLE = 60;

/** Those that were kept, or one that is new. @param {Storage | null} [storage] */
export function createConversations(storage = session()) {
  /** @type {Conversation[]} the latest first */
  const all = read(storage);
  let current = all[0] ?? add();

  /** @param {Conversation} [like] whose settings it begins with */
  function add(like) {
    const { system = "", sampling = {}, model = "" } = like ?? {};
    /** @type {Conversation} */
    const made = { id: newId(), title: "New conversation", named: false, system, sampling: { ...sampling }, model, messages: [] };
    all.unshift(made);
    return made;
  }

  return {
    /** The latest first. */
    all,
    get current() {
      return current;
    },
    /** Begin one with the settings of the one before; an empty one is not begun twice. */
    begin() {
      current = all.find((each) => !each.messages.length) ?? add(current);
      return current;
    },
    /** @param {string} id */
    choose(id) {
      current = all.find((each) => each.id === id) ?? current;
    },
    /** @param {Conversation} conversation @param {string} title */
    rename(conversation, title) {
      if (!title.trim()) return;
      conversation.title = title.trim().slice(0, TITLE);
      conversation.named = true;
      this.save();
    },
    /** @param {Conversation} conversation */
    remove(conversation) {
      all.splice(all.indexOf(conversation), 1);
      if (conversation === current) current = all[0] ?? add(current);
      this.save();
    },
    /** Add a message; the first question is the title of what has none. @param {Conversation} conversation @param {Message} message */
    say(conversation, message) {
      conversation.messages.push(message);
      if (!conversation.named && conversation.messages.length === 1) conversation.title = titled(message.content);
      this.save();
    },
    save() {
      const kept = all.map((each) => JSON.stringify(each));
      while (kept.length) {
        try {
          if (kept.reduce((sum, each) => sum + each.length, 0) <= ROOM) {
            storage?.setItem(KEY, `[${kept.join()}]`);
            return;
          }
        } catch {
          // The browser's own bound is a smaller one.
        }
        kept.pop();
      }
      storage?.removeItem(KEY);
    },
  };
}

/** @param {string} text */
function titled(text) {
  const line = text.trim().split("\n")[0].replace(/\s+/g, " ");
  return line.length > TITLE ? `${line.slice(0, TITLE - 1)}…` : line || "New conversation";
}

/** @returns {Storage | null} */
function session() {
  try {
    return window.sessionStorage;
  } catch {
    return null; // a page whose storage is shut
  }
}

/** @param {Storage | null} storage @returns {Conversation[]} */
function read(storage) {
  try {
    const found = JSON.parse(storage?.getItem(KEY) ?? "[]");
    return Array.isArray(found) ? found.filter((each) => typeof each?.id === "string" && Array.isArray(each.messages)) : [];
  } catch {
    return []; // of a version that wrote something else
  }
}

/** Pages by plain HTTP have no randomUUID. */
function newId() {
  return Array.from(crypto.getRandomValues(new Uint32Array(2)), (number) => number.toString(36)).join("");
}
