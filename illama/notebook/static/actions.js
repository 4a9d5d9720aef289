// What can be done to a model: load, keep, unload, remove. Knows the host's requests. Does not know how it looks.

import { announce } from "./dom.js";
import { bytes } from "./format.js";

/** @typedef {import("./store.js").Tag} Tag */
/** @typedef {import("./store.js").Loaded} Loaded */
/** @typedef {ReturnType<typeof createActions>} Actions */

/** @param {import("./panel.js").Context} context */
export function createActions({ store, transport, dialog }) {
  /** @param {string} model @param {object} more @param {AbortSignal} [signal] */
  const generate = async (model, more, signal) => {
    const asked = transport.ask("POST", "/api/generate", { model, stream: false, ...more }, { signal });
    // What has begun is seen at once, not at the next look.
    setTimeout(() => store.refresh(), 150);
    try {
      await asked;
    } finally {
      await store.refresh();
    }
  };

  return {
    /** Load a model; done when it is ready. @param {string} name @param {AbortSignal} [signal] */
    async load(name, signal) {
      announce(`Loading ${name}`);
      await generate(name, {}, signal);
      announce(`${name} is loaded`);
    },
    /** Let a model stay however long nobody asks it, or as long as usual. @param {string} name @param {boolean} stay */
    async keep(name, stay) {
      await generate(name, { keep_alive: stay ? -1 : store.state.ps.keep_alive ?? "10m" });
      announce(stay ? `${name} stays loaded` : `${name} is unloaded when it was idle for long enough`);
    },
    /** Unload a model when what runs has ended; done when it is gone. @param {string} name */
    async unload(name) {
      announce(`Unloading ${name}`);
      await generate(name, { keep_alive: 0 });
      announce(`${name} is unloaded`);
    },
    /**
     * Ask, and remove a model. Tells what came free, or null if the person thought better of it.
     * @param {Tag} tag @returns {Promise<string | null>}
     */
    async remove(tag) {
      const loaded = store.state.loaded.find((each) => each.name === tag.name);
      const sure = await dialog.confirm({ title: `Remove ${tag.name}?`, text: warning(tag, loaded), action: "Remove", danger: true });
      if (!sure) return null;
      announce(`Removing ${tag.name}`);
      const { freed } = await transport.ask("DELETE", "/api/delete", { model: tag.name });
      await store.refresh();
      return `${tag.name} is removed: ${bytes(freed)} came free.`;
    },
  };
}

/** @param {Tag} tag @param {Loaded | undefined} loaded */
function warning(tag, loaded) {
  const running = loaded ? loaded.running : 0;
  const busy = running ? ` What runs on it (${running}) is let finish first.` : " It is unloaded first.";
  return `Its files go, and about ${bytes(tag.size)} of disk come free.${loaded ? busy : ""} To have it again it must be pulled again.`;
}
