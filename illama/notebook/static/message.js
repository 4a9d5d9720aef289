// A question and an answer as they stand in a conversation. Knows how they look. Does not know where answers come from.

import { asCell, spent } from "./asking.js";
import { copyText } from "./clipboard.js";
import { announce, h, replace, setText } from "./dom.js";
import { createMarkdown } from "./markdown.js";

/** @typedef {import("./conversations.js").Message} Message */
/** @typedef {import("./transport.js").ApiError} ApiError */
/** What can be done about an answer: again is null while it cannot be asked for again. @typedef {{ again: () => void, cell: import("./cells.js").CellWriter | null }} Actions */

/** @param {string} text */
export function createQuestion(text) {
  const edit = h("button", { type: "button", class: "quiet", hidden: true }, "Edit");
  const element = h("div", { class: "question", role: "group", "aria-label": "Question" },
    h("div", { class: "said", dir: "auto" }, text), h("div", { class: "row end" }, edit));
  return {
    element,
    /** Let it be edited, or no longer. @param {(() => void) | null} action */
    editable(action) {
      edit.hidden = !action;
      edit.onclick = action;
    },
  };
}

/** @param {Message} message @param {Actions} actions */
export function createAnswer(message, { again, cell }) {
  const thoughts = createMarkdown();
  const folded = h("details", { class: "thoughts", hidden: true }, h("summary", {}, "Thoughts"), thoughts.element);
  const body = createMarkdown();
  const status = h("p", { class: "soft waiting", hidden: true });
  const took = h("p", { class: "soft took" });
  const problem = h("div", { class: "problem", role: "alert", hidden: true });
  const copy = h("button", { type: "button", class: "quiet", on: { click: () => copyText(message.content, copy) } }, "Copy");
  const intoCell = h("button", { type: "button", class: "quiet", title: CELL, on: { click: putIntoCell } }, cell ? "Put into a cell" : "Copy as a cell");
  const regenerate = h("button", { type: "button", class: "quiet", hidden: true, on: { click: again } }, "Regenerate");
  const foot = h("div", { class: "row foot", hidden: true }, copy, intoCell, regenerate, took);
  const element = h("div", { class: "answer", role: "group", "aria-label": "Answer" }, folded, body.element, status, problem, foot);

  async function putIntoCell() {
    const text = asCell(message.content);
    // A notebook that has been closed since takes none.
    if (cell && (await cell(text))) announce("It is in a new cell of the notebook.");
    else copyText(text, intoCell);
  }

  return {
    element,
    /** What it waits for. @param {string} text */
    status(text) {
      status.hidden = !text;
      setText(status, text);
    },
    /** @param {string} text */
    thought(text) {
      this.status("Thinking…");
      folded.hidden = false;
      thoughts.append(text);
    },
    /** @param {string} text */
    text(text) {
      if (!status.hidden) this.status("");
      body.append(text);
    },
    /** All has come that will come. @param {ApiError | null} error */
    end(error) {
      this.status("");
      thoughts.finish();
      body.finish();
      body.element.hidden = !message.content;
      element.dataset.end = message.end ?? "";
      const failed = message.end === "failed";
      const { message: what, hint } = error ?? { message: "This answer was not completed.", hint: "" };
      problem.hidden = !failed;
      if (failed) replace(problem, h("p", {}, h("strong", {}, what), " ", hint), h("p", {}, h("button", { type: "button", on: { click: again } }, "Try again")));
      copy.hidden = intoCell.hidden = !message.content;
      setText(took, spent(message));
      foot.hidden = false;
    },
    /** Whether another answer to its question can be asked for. @param {boolean} can */
    repeatable(can) {
      regenerate.hidden = !can || message.end === "failed";
    },
  };
}

const CELL = "Its Python code, or if it has none its text as Markdown";
