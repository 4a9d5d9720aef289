// What every way to the model host can do, and how its errors look. Does not know which way that is.

/**
 * A way to the model host. Paths are `/v1/…` and `/api/…`.
 * @typedef {object} Transport
 * @property {"server" | "kernel"} kind
 * @property {string} name what people call this way
 * @property {string} describe what it means for who looks at the panel
 * @property {boolean} manage whether models may be added and removed, as far as is known
 * @property {string | null} url the address of `illama/` for programs, with a `/` at its end
 * @property {(method: string, path: string, body?: object, options?: AskOptions) => Promise<any>} ask the answer's JSON; throws ApiError
 * @property {(method: string, path: string, body?: object, options?: StreamOptions) => AsyncGenerator<any>} stream
 *   the objects of a streamed answer, as they come; comments as `{comment: "…"}`; throws ApiError, at an error in the stream too
 * @property {() => void} [dispose]
 */
/** @typedef {{ poll?: boolean, signal?: AbortSignal }} AskOptions a poll starts no host and keeps nothing alive */
/** @typedef {{ signal?: AbortSignal }} StreamOptions */

/** A request that failed: what happened, and as `hint` what to do. Status 0: nobody answered. */
export class ApiError extends Error {
  /** @param {string} message @param {{ hint?: string, code?: string, status?: number }} [more] */
  constructor(message, { hint = "", code = "", status = 0 } = {}) {
    super(message);
    this.name = "ApiError";
    this.hint = hint;
    this.code = code;
    this.status = status;
  }

  /** The error in an answer of either dialect. @param {any} body @param {number} status */
  static from(body, status) {
    const told = body?.error;
    const inner = told && typeof told === "object" ? told : { ...body, message: told };
    const hint = String(inner.hint || "");
    const message = typeof inner.message === "string" && inner.message ? inner.message : `The server answered ${status}.`;
    // For Ollama's clients the hint is part of the message too.
    const bare = hint && message.endsWith(hint) ? message.slice(0, -hint.length).trim() : message;
    return new ApiError(bare, { hint, code: String(inner.code || ""), status: body?.status_code || status });
  }
}

/** Whether somebody stopped the request on purpose. @param {unknown} error */
export function isAbort(error) {
  return error instanceof DOMException && error.name === "AbortError";
}

/** What went wrong, as an ApiError. @param {unknown} error @returns {ApiError} */
export function asApiError(error) {
  return error instanceof ApiError ? error : new ApiError(error instanceof Error ? error.message : String(error));
}

/**
 * The objects in a stream of text: server-sent events, or one JSON object a line.
 * @param {AsyncIterable<string>} pieces
 * @param {boolean} events
 * @returns {AsyncGenerator<any>}
 */
export async function* objects(pieces, events) {
  let rest = "";
  for await (const piece of pieces) {
    const lines = (rest + piece).split("\n");
    rest = lines.pop() ?? "";
    for (const line of lines) {
      const found = events ? event(line.replace(/\r$/, "")) : line.trim() && JSON.parse(line);
      if (found === DONE) return;
      if (!found) continue;
      if (found.error) throw ApiError.from(found, 500);
      yield found;
    }
  }
  if (!events && rest.trim()) {
    const found = JSON.parse(rest);
    if (found.error) throw ApiError.from(found, 500);
    yield found;
  }
}

const DONE = Symbol("done");

/** @param {string} line @returns {any} */
function event(line) {
  if (line.startsWith(":")) return { comment: line.slice(1).trim() };
  if (!line.startsWith("data:")) return null;
  const data = line.slice(5).trim();
  return data === "[DONE]" ? DONE : JSON.parse(data);
}
