// One question on its way: the request, and what its stream says. Knows the API's fields. Does not know elements.

import { ApiError, asApiError, isAbort } from "./transport.js";

/** @typedef {import("./conversations.js").Conversation} Conversation */
/** @typedef {import("./conversations.js").Message} Message */
/** What is told while an answer comes. @typedef {{ status: (text: string) => void, thought: (text: string) => void, text: (text: string) => void }} Told */

// Seconds until the host says what a request waits for.
const HEADER_WAIT = 0.5;

/** The request for the next answer. @param {Conversation} conversation */
export function requestFor({ model, system, sampling, messages }) {
  // A question that got no answer is left out with it: many templates want questions and answers in turn.
  const kept = messages.filter((message, index) => (message.role === "user" ? messages[index + 1]?.content !== "" : message.content));
  const said = kept.map(({ role, content }) => ({ role, content }));
  const all = system.trim() ? [{ role: "system", content: system }, ...said] : said;
  return { model, messages: all, ...sampling, stream: true, header_wait: HEADER_WAIT };
}

/**
 * Ask, and fill the answer as it comes. Whatever happens, what has come stays in it. Returns what went wrong, if anything did.
 * @param {import("./transport.js").Transport} transport @param {object} request @param {Message} answer @param {Told} told @param {AbortSignal} signal
 * @returns {Promise<ApiError | null>}
 */
export async function ask(transport, request, answer, told, signal) {
  answer.end = "failed";
  try {
    for await (const chunk of transport.stream("POST", "/v1/chat/completions", request, { signal })) {
      if (chunk.comment) {
        told.status(waitingFor(chunk.comment));
        continue;
      }
      const choice = chunk.choices?.[0];
      const { content, reasoning_content: thought } = choice?.delta ?? {};
      if (thought) {
        answer.reasoning = (answer.reasoning ?? "") + thought;
        told.thought(thought);
      }
      if (content) {
        answer.content += content;
        told.text(content);
      }
      if (choice?.finish_reason) answer.end = choice.finish_reason === "length" ? "length" : "stop";
      if (chunk.timings) answer.timings = chunk.timings;
    }
    if (answer.end !== "failed") return null;
    return new ApiError("The answer broke off.", { hint: "The host or the connection to it has ended. Ask again." });
  } catch (error) {
    if (isAbort(error) || signal.aborted) {
      answer.end = "stopped";
      return null;
    }
    answer.end = "failed";
    return advised(asApiError(error));
  }
}

/** The host's comment, as a person reads it. @param {string} comment */
export function waitingFor(comment) {
  const loading = /^loading (.*)$/.exec(comment);
  const queued = /^queued(?: \((\d+) before\))?$/.exec(comment);
  if (loading) return `Loading ${loading[1]}…`;
  if (queued) return queued[1] ? `Waiting: ${queued[1]} before this one` : "Waiting for the device…";
  return comment === "reading the prompt" ? "Reading the question…" : `${comment[0].toUpperCase()}${comment.slice(1)}…`;
}

/** The error with what can be done about it here. @param {ApiError} error */
function advised(error) {
  /** @type {Record<string, string>} */
  const hints = {
    context_length_exceeded: "Begin a new conversation, or edit the last question into a shorter one.",
    model_not_found: "It may have been removed: choose another model above.",
  };
  const hint = hints[error.code] ?? (error.hint || "Try again.");
  return new ApiError(error.message, { hint, code: error.code, status: error.status });
}

/** What an answer took, in a line. @param {Message} answer */
export function spent({ timings, end, model }) {
  const parts = [model ?? ""];
  if (timings) {
    parts.push(`${timings.predicted_n} token${timings.predicted_n === 1 ? "" : "s"}`);
    if (timings.predicted_n > 1) parts.push(`${timings.predicted_per_second.toFixed(1)} tokens/s`);
    parts.push(`first after ${seconds(timings.ttft_ms)}`);
    if (timings.load_ms >= 1) parts.push(`loaded in ${seconds(timings.load_ms)}`);
    if (timings.queue_ms >= 100) parts.push(`waited ${seconds(timings.queue_ms)}`);
    if (timings.device) parts.push(`on ${timings.device}`);
  }
  if (end === "length") parts.push("cut at the token limit");
  if (end === "stopped") parts.push("stopped");
  return parts.filter(Boolean).join(" · ");
}

/** @param {number} milliseconds */
function seconds(milliseconds) {
  return milliseconds < 995 ? `${Math.round(milliseconds)} ms` : `${(milliseconds / 1000).toFixed(milliseconds < 9950 ? 1 : 0)} s`;
}

/** The answer as a notebook's cell: its code if it has any, else its text as Markdown. @param {string} text */
export function asCell(text) {
  const code = [...text.matchAll(/^ {0,3}(`{3,})(?:python|py|python3|ipython)?[ \t]*\n([^]*?)\n {0,3}\1[ \t]*$/gim)].map((found) => found[2]);
  return code.length ? code.join("\n\n") : `%%markdown\n${text}`;
}
