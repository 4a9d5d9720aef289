// The way through the Jupyter server. Knows fetch, Jupyter's cookie and its proof. Needs no kernel.

import { ApiError, objects } from "./transport.js";

/** @typedef {import("./transport.js").Transport} Transport */

const REFUSED = "X-Illama-Manage";

/** The way through the Jupyter server. @param {string} url the address of its `illama/` @returns {Transport} */
export function serverTransport(url) {
  const base = url.endsWith("/") ? url : `${url}/`;

  /** @param {string} method @param {string} path @param {object} [body] @param {import("./transport.js").AskOptions} [options] */
  async function send(method, path, body, { poll, signal } = {}) {
    /** @type {Record<string, string>} */
    const headers = {};
    if (method !== "GET") headers["X-XSRFToken"] = cookie("_xsrf");
    if (body) headers["Content-Type"] = "application/json";
    const address = base + path.replace(/^\//, "") + (poll ? `${path.includes("?") ? "&" : "?"}no_track_activity=1` : "");
    let answer;
    try {
      answer = await fetch(address, { method, headers, body: body && JSON.stringify(body), signal, credentials: "same-origin", cache: "no-store" });
    } catch (error) {
      if (signal?.aborted) throw error;
      throw gone();
    }
    if (answer.headers.has(REFUSED)) transport.manage = answer.headers.get(REFUSED) !== "no";
    if (answer.ok) return answer;
    throw refusal(await answer.json().catch(() => null), answer.status);
  }

  /** @type {Transport} */
  const transport = {
    kind: "server",
    name: "Jupyter server",
    describe: "Through the Jupyter server: live also while cells run, and without a kernel.",
    manage: true,
    url: base,
    async ask(method, path, body, options) {
      const answer = await send(method, path, body, options);
      const text = await answer.text().catch(() => {
        throw gone();
      });
      if (!text) return null;
      try {
        return JSON.parse(text);
      } catch {
        // A login page, in the place of an answer.
        throw refusal(null, 401);
      }
    },
    async *stream(method, path, body, options) {
      const answer = await send(method, path, body, options);
      const events = (answer.headers.get("Content-Type") || "").startsWith("text/event-stream");
      yield* objects(pieces(answer, options?.signal), events);
    },
  };
  return transport;
}

/** @param {Response} answer @param {AbortSignal} [signal] @returns {AsyncGenerator<string>} */
async function* pieces(answer, signal) {
  if (!answer.body) return;
  const reader = answer.body.getReader();
  const decoder = new TextDecoder();
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      yield decoder.decode(value, { stream: true });
    }
  } catch (error) {
    if (signal?.aborted) throw error;
    throw new ApiError("The connection to the Jupyter server broke off.", { hint: "Ask again when it is back." });
  } finally {
    // Who stops reading lets go of the connection, which ends the work behind it.
    reader.cancel().catch(() => {});
  }
}

/** @param {string} name */
function cookie(name) {
  const found = document.cookie.split("; ").find((each) => each.startsWith(`${name}=`));
  return found ? decodeURIComponent(found.slice(name.length + 1)) : "";
}

function gone() {
  return new ApiError("The Jupyter server does not answer.", { hint: "Nothing is lost: the panel goes on when it is back." });
}

/** @param {any} body @param {number} status */
function refusal(body, status) {
  if (status === 401 || (status === 403 && !body?.error)) {
    return new ApiError("You are not logged in to this Jupyter server any more.", {
      hint: "Log in again: reload the page, or open the address that the server prints when it starts.",
      code: "logged_out",
      status: 401,
    });
  }
  return ApiError.from(body, status);
}
