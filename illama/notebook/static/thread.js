// One conversation on the screen, which goes on while another one, or another tab, is looked at. Does not know the others.

import { ask, requestFor } from "./asking.js";
import { announce, h } from "./dom.js";
import { createAnswer, createQuestion } from "./message.js";

/** @typedef {import("./conversations.js").Conversation} Conversation */
/** @typedef {import("./conversations.js").Message} Message */
/** @typedef {{ message: Message, element: HTMLElement, question?: ReturnType<typeof createQuestion>, answer?: ReturnType<typeof createAnswer> }} Line */
/** @typedef {ReturnType<typeof createThread>} Thread */

/**
 * @param {Conversation} conversation
 * @param {object} context
 * @param {import("./transport.js").Transport} context.transport
 * @param {import("./conversations.js").Conversations} context.conversations
 * @param {import("./cells.js").CellWriter | null} context.putIntoCell
 * @param {(question: string) => void} context.edit give a question back to be changed
 * @param {() => void} context.changed it began or ended to wait for an answer
 */
export function createThread(conversation, { transport, conversations, putIntoCell, edit, changed }) {
  const element = h("div", { class: "log", role: "log", "aria-live": "off", "aria-label": "Conversation", tabindex: "-1" });
  /** @type {Line[]} */
  const lines = [];
  /** @type {AbortController | null} */
  let running = null;

  /** @param {Message} message @returns {Line} */
  function put(message) {
    const question = message.role === "user" ? createQuestion(message.content) : undefined;
    const answer = question ? undefined : createAnswer(message, { again: () => void regenerate(), cell: putIntoCell });
    const line = { message, question, answer, element: /** @type {HTMLElement} */ ((question ?? answer)?.element) };
    lines.push(line);
    element.append(line.element);
    return line;
  }

  /** Only the last question can be changed, and only the last answer be made anew. */
  function offer() {
    lines.forEach((line, index) => {
      line.answer?.repeatable(!running && index === lines.length - 1);
      line.question?.editable(!running && index >= lines.length - 2 ? () => edit(line.message.content) : null);
    });
  }

  /** Take back the last lines, down to this role's. @param {"user" | "assistant"} role */
  function takeBack(role) {
    let gone;
    do {
      gone = lines.pop();
      gone?.element.remove();
      conversation.messages.pop();
    } while (gone && gone.message.role !== role && lines.length);
  }

  async function answerIt() {
    const request = requestFor(conversation);
    /** @type {Message} */
    const message = { role: "assistant", content: "", model: conversation.model, end: "failed" };
    const { answer } = put(message);
    conversations.say(conversation, message);
    if (!answer) return;
    running = new AbortController();
    answer.status("Asking…");
    offer();
    changed();
    const error = await ask(transport, request, message, answer, running.signal);
    running = null;
    answer.end(error);
    announce(message.end === "stopped" ? "Stopped" : error ? error.message : "The answer is complete");
    conversations.save();
    offer();
    changed();
  }

  async function regenerate() {
    if (running || lines.at(-1)?.message.role !== "assistant") return;
    takeBack("assistant");
    await answerIt();
  }

  for (const message of conversation.messages) {
    const { answer } = put(message);
    if (message.reasoning) answer?.thought(message.reasoning);
    answer?.text(message.content);
    answer?.end(null);
  }
  offer();

  return {
    element,
    conversation,
    get busy() {
      return running !== null;
    },
    get empty() {
      return !lines.length;
    },
    /** @param {string} text @param {boolean} instead whether it takes the last question's place */
    async ask(text, instead) {
      if (running) return;
      if (instead) takeBack("user");
      const message = /** @type {Message} */ ({ role: "user", content: text });
      put(message);
      conversations.say(conversation, message);
      await answerIt();
    },
    /** End the answer; what there is of it stays. */
    stop() {
      running?.abort();
    },
  };
}
