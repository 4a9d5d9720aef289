// A pull by name: the form with its suggestions, and the pulls that this panel watches. Knows the host's requests.

import { announce, h, replace } from "./dom.js";
import { bytes } from "./format.js";
import { createNotice } from "./notice.js";
import { ApiError, asApiError, isAbort } from "./transport.js";

/** @typedef {{ model: string, name?: string, device?: string, weight_format?: string, trust_remote_code?: boolean, make_environment?: boolean }} Wish */
/** @typedef {{ names: string[], repo: string, size: number | null }} Offer */
/** @typedef {ReturnType<typeof createPulling>} Pulling */

export const CONVERTER_NEEDED = "converter_needed";
// The host's own hint is for who types commands.
export const CONVERTER = "illama can make an environment of its own for that, once: about 2 GB, some minutes. Your packages stay as they are.";

/** A word of our own choice, by which the host knows which watcher of a pull asks. */
function word() {
  return Array.from(crypto.getRandomValues(new Uint8Array(8)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/**
 * @param {import("./panel.js").Context} context
 * @param {(job: string, line: any) => void} moved called with each line of a pull that is watched
 */
export function createPulling({ store, transport, dialog }, moved) {
  /** Which pulls this panel watches: their words, by job. @type {Map<string, string>} */
  const watched = new Map();
  const leaving = new AbortController();
  const notice = createNotice();
  const offers = h("datalist", { id: "offers" });
  const source = h("input", {
    type: "text", id: "source", list: "offers", required: true, placeholder: "smollm2, or a repository", autocomplete: "off", autocapitalize: "off",
    spellcheck: "false", on: { focus: suggest, input: suggest },
  });
  const name = h("input", { type: "text", id: "pull-name", autocomplete: "off", spellcheck: "false" });
  const format = h("select", { id: "pull-format" },
    [["", "as it comes"], ["int4", "int4: smallest"], ["int8", "int8"], ["fp16", "fp16: as trained"]].map(([value, label]) => h("option", { value }, label)));
  const form = h("form", { class: "pull", on: { submit } },
    h("div", { class: "row" }, h("label", { for: "source" }, "Pull"), source, offers, h("button", { type: "submit", class: "primary" }, "Pull")),
    h("details", {}, h("summary", {}, "How it is made"),
      h("div", { class: "row" }, h("label", { for: "pull-name" }, "Name here"), name, h("label", { for: "pull-format" }, "Weights"), format),
      h("p", { class: "soft" }, "Weights can be chosen where a checkpoint is converted. What comes in OpenVINO's format stays as it is.")));
  let suggested = "";

  /** Have the catalogue's names suggested, and what of it is not here yet first. It starts no host. */
  async function suggest() {
    const sign = `${store.state.connection} ${store.state.ps.registry}`;
    if (suggested === sign || store.state.connection !== "up") return;
    suggested = sign;
    try {
      replace(offers, options((await transport.ask("GET", "/api/tags?catalogue=1", undefined, { poll: true })).catalogue ?? []));
    } catch {
      suggested = ""; // names can be typed all the same
    }
  }

  /** @param {Offer[]} catalogue */
  function options(catalogue) {
    const here = new Set(store.state.models.flatMap((model) => [model.name, ...model.aliases]).map((each) => each.toLowerCase()));
    return catalogue.flatMap(({ names, repo, size }) => {
      const told = [repo, size && bytes(size), names.some((each) => here.has(each.toLowerCase())) && "installed"].filter(Boolean).join(", ");
      return names.map((value) => h("option", { value, label: `${value}: ${told}` }));
    });
  }

  /** @param {SubmitEvent} event */
  function submit(event) {
    event.preventDefault();
    const model = source.value.trim();
    if (!model) return;
    /** @type {Wish} */
    const wish = { model };
    if (name.value.trim()) wish.name = name.value.trim();
    if (format.value) wish.weight_format = format.value;
    source.value = name.value = "";
    start(wish);
  }

  /** Pull, and watch until it ends. What goes wrong before there is a job is said here, all else at the job. @param {Wish} wish */
  async function start(wish) {
    notice.clear();
    announce(`Pulling ${wish.model}`);
    const watcher = word();
    let job = "";
    let last = /** @type {any} */ ({});
    try {
      for await (const line of transport.stream("POST", "/api/pull", { ...wish, stream: true, watcher }, { signal: leaving.signal })) {
        last = line;
        if (line.job && !job) {
          watched.set((job = line.job), watcher);
          store.refresh();
        }
        moved(job, line);
      }
      if (last.status === "success") tell(last);
    } catch (error) {
      if (isAbort(error)) return;
      const problem = asApiError(error);
      if (problem.code === CONVERTER_NEEDED) await agree(wish, problem, job);
      else if (job && problem.status) announce(`The pull of ${wish.model} failed: ${problem.message}`);
      else if (!job) refused(wish, problem);
    } finally {
      if (job) watched.delete(job);
      await store.refresh();
    }
  }

  /** @param {any} last */
  function tell(last) {
    notice.tell(last.existing ? `${last.name} was here already.` : `${last.name} is ready.`);
  }

  /** @param {Wish} wish @param {ApiError} problem */
  function refused(wish, problem) {
    notice.fail(problem);
    if (!source.value) source.value = wish.model;
  }

  /**
   * Ask whether the converter's environment is to be made, and pull again with it.
   * @param {Wish} wish @param {{ message: string }} problem @param {string} job the one that ended for want of it
   */
  async function agree(wish, problem, job) {
    const text = `${problem.message} ${CONVERTER}`;
    const sure = await dialog.confirm({ title: "Make the converter's environment?", text, action: "Make it and pull" });
    if (!sure) return;
    if (job) await forget(job);
    start({ ...wish, make_environment: true });
  }

  /** Stop a pull. If others watch it, ask first: it is theirs too. @param {{ id: string, source: string }} job */
  async function cancel(job) {
    const { state, watchers } = await transport.ask("DELETE", "/api/pull", { job: job.id, watcher: watched.get(job.id) });
    if (state === "running") {
      const who = watchers === 1 ? "Somebody else waits" : `${watchers} others wait`;
      const text = `${who} for it, in a notebook or a terminal. Without you it goes on.`;
      if (await dialog.confirm({ title: `Cancel the pull of ${job.source} for all?`, text, action: "Cancel it for all", danger: true })) {
        await transport.ask("DELETE", "/api/pull", { job: job.id, force: true });
      }
    }
    await store.refresh();
  }

  /** Have a pull that has ended told of no more. @param {string} job */
  async function forget(job) {
    await transport.ask("DELETE", "/api/pull", { job });
    await store.refresh();
  }

  return {
    form,
    notice,
    start,
    agree,
    cancel,
    forget,
    /** Say what has happened to a model that is not there any more. @param {string} said */
    tell: (said) => notice.tell(said),
    dispose: () => leaving.abort(),
  };
}
