// The way through the kernel, for notebooks whose server has no extension of ours. Knows the widget's messages alone.

import { ApiError, objects } from "./transport.js";

/** What anywidget gives: messages to and from the kernel.
 * @typedef {{ send: (content: any) => void, on: (event: string, listener: (content: any) => void) => void,
 *   off: (event: string, listener: (content: any) => void) => void }} Model */
/** @typedef {import("./transport.js").Transport} Transport */
/** @typedef {{ id: string, status?: number, type?: string, chunk?: string, end?: boolean, error?: any }} Message */

// Milliseconds after which a poll that has no answer is told of. It may still come: nothing is sent a second time.
const PATIENCE = 8000;

/** @param {Model} model @returns {Transport} */
export function kernelTransport(model) {
  /** @type {Map<string, (message: Message) => void>} */
  const waiting = new Map();
  /** @type {Map<string, Promise<any>>} */
  const polls = new Map();
  const hear = (/** @type {Message} */ message) => waiting.get(message?.id)?.(message);
  model.on("msg:custom", hear);

  /** The kernel's messages for one request, as they come.
   * @param {object} request @param {AbortSignal} [signal] @returns {AsyncGenerator<Message>} */
  async function* messages(request, signal) {
    const id = crypto.randomUUID();
    /** @type {Message[]} */
    const come = [];
    let wake = () => {};
    const stopped = () => wake();
    waiting.set(id, (message) => {
      come.push(message);
      wake();
    });
    signal?.addEventListener("abort", stopped);
    let ended = false;
    try {
      signal?.throwIfAborted();
      model.send({ ...request, id });
      for (;;) {
        if (!come.length) await new Promise((/** @type {(value: void) => void} */ done) => (wake = done));
        signal?.throwIfAborted();
        const message = come.shift();
        if (!message) continue;
        ended = Boolean(message.end || message.error);
        if (message.error) throw new ApiError(message.error.message, message.error);
        if (message.end) return;
        yield message;
      }
    } finally {
      waiting.delete(id);
      signal?.removeEventListener("abort", stopped);
      if (!ended) model.send({ id, abort: true });
    }
  }

  /** @param {string} method @param {string} path @param {object} [body] @param {import("./transport.js").AskOptions} [options] */
  async function whole(method, path, body, { poll, signal } = {}) {
    let status = 0;
    let text = "";
    for await (const message of messages({ method, path, body, poll }, signal)) {
      status = message.status ?? status;
      text += message.chunk ?? "";
    }
    const answer = text ? parsed(text) : null;
    if (status >= 400) throw ApiError.from(answer, status);
    return answer;
  }

  return {
    kind: "kernel",
    name: "kernel",
    describe: "Through this notebook's kernel: updates may wait while a cell runs, and end with the kernel.",
    manage: true,
    url: null,
    ask(method, path, body, options = {}) {
      if (!options.poll) return whole(method, path, body, options);
      // A busy kernel answers all that was asked in the end: one question of a kind is enough.
      let under = polls.get(path);
      if (!under) {
        under = whole(method, path, body, options).finally(() => polls.delete(path));
        polls.set(path, under);
      }
      return Promise.race([under, silence()]);
    },
    async *stream(method, path, body, options) {
      let status = 0;
      let events = false;
      let refusal = "";
      const signal = options?.signal;
      async function* pieces() {
        for await (const message of messages({ method, path, body }, signal)) {
          if (message.status) [status, events] = [message.status, (message.type ?? "").startsWith("text/event-stream")];
          else if (status >= 400) refusal += message.chunk ?? "";
          else if (message.chunk) yield message.chunk;
        }
        if (status >= 400) throw ApiError.from(parsed(refusal), status);
      }
      const source = pieces();
      // The first piece tells which kind of stream it is.
      const first = await source.next();
      async function* all() {
        if (!first.done) yield first.value;
        yield* source;
      }
      yield* objects(all(), events);
    },
    dispose: () => model.off("msg:custom", hear),
  };
}

/** @param {string} text */
function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}

/** @returns {Promise<never>} */
function silence() {
  return new Promise((_, fail) => {
    setTimeout(() => fail(new ApiError("The kernel does not answer.", { hint: "It is busy with a cell, or has ended. Updates come when the cell ends; a new kernel needs the panel opened again." })), PATIENCE);
  });
}
