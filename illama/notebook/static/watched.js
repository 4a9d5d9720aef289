// A way to the host that has the store look when something has been asked: what is shown follows at once.

/** @typedef {import("./transport.js").Transport} Transport */

/** @param {Transport} transport @param {() => unknown} look @returns {Transport} */
export function watched(transport, look) {
  return {
    ...transport,
    async ask(method, path, body, options) {
      try {
        return await transport.ask(method, path, body, options);
      } finally {
        if (!options?.poll) look();
      }
    },
    async *stream(method, path, body, options) {
      let begun = false;
      try {
        for await (const found of transport.stream(method, path, body, options)) {
          // The model is loading or at work by now.
          if (!begun) look();
          begun = true;
          yield found;
        }
      } finally {
        look();
      }
    },
  };
}
