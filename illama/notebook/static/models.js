// The models: what is installed, with what can be done to each.

import { announce, h, replace } from "./dom.js";
import { bytes } from "./format.js";
import { asApiError } from "./transport.js";

/** @typedef {import("./store.js").State} State */

/** @param {import("./panel.js").Context} context @returns {import("./panel.js").Part} */
export function createModels({ store, transport, dialog }) {
  const source = h("input", { type: "text", id: "source", required: true, placeholder: "smollm2", autocomplete: "off", spellcheck: "false" });
  const form = h("form", { class: "row", on: { submit: pull } },
    h("label", { for: "source" }, "Pull"), source, h("button", { type: "submit", class: "primary" }, "Pull"));
  const problem = h("p", { class: "problem", role: "alert", hidden: true });
  const jobs = h("ul", { class: "list", "aria-label": "Pulls" });
  const list = h("ul", { class: "list", "aria-label": "Models" });
  const none = h("p", { class: "soft" });

  /** @param {() => Promise<void>} work */
  async function attempt(work) {
    problem.hidden = true;
    try {
      await work();
    } catch (error) {
      const { message, hint } = asApiError(error);
      replace(problem, h("strong", {}, message), " ", hint);
      problem.hidden = false;
    }
    await store.refresh();
  }

  /** @param {SubmitEvent} event */
  function pull(event) {
    event.preventDefault();
    const wanted = source.value.trim();
    if (!wanted) return;
    source.value = "";
    attempt(async () => {
      for await (const line of transport.stream("POST", "/api/pull", { model: wanted })) {
        // The lines are the job's, which the store shows: a look at the first of them is enough.
        if (line.job && !store.state.jobs.some((job) => job.id === line.job)) store.refresh();
      }
      announce(`${wanted} is pulled`);
    });
  }

  /** @param {string} name */
  const load = (name) => attempt(async () => void (await transport.ask("POST", "/api/generate", { model: name, stream: false })));
  /** @param {string} name */
  const unload = (name) => attempt(async () => void (await transport.ask("POST", "/api/generate", { model: name, keep_alive: 0, stream: false })));
  /** @param {string} name @param {number} size */
  async function remove(name, size) {
    const sure = await dialog.confirm({ title: `Remove ${name}?`, text: `${bytes(size)} come free. It can be pulled again.`, action: "Remove", danger: true });
    if (sure) await attempt(async () => void (await transport.ask("DELETE", "/api/delete", { model: name })));
  }

  /** @param {string} job */
  const cancel = (job) => attempt(async () => void (await transport.ask("DELETE", "/api/pull", { job, force: true })));

  let before = "";
  /** @param {State} state */
  function show(state) {
    form.hidden = !state.manage;
    const seen = JSON.stringify([state.connection, state.manage, state.jobs, state.models, state.loaded.map((model) => [model.name, model.state])]);
    if (seen === before) return;
    before = seen;
    const running = state.jobs.filter((job) => job.state === "running");
    replace(jobs, running.map((job) => h("li", {}, h("span", {}, job.name || job.source), " ", h("span", { class: "soft" }, job.status), " ",
      job.total ? h("progress", { max: job.total, value: job.completed ?? 0, "aria-label": job.source }) : null,
      h("button", { type: "button", on: { click: () => cancel(job.id) } }, "Cancel"))));
    replace(list, state.models.map((model) => {
      const loaded = state.loaded.find((each) => each.name === model.name);
      const button = (/** @type {string} */ text, /** @type {() => void} */ click, name = "") =>
        h("button", { type: "button", class: name, "aria-label": `${text} ${model.name}`, on: { click } }, text);
      return h("li", { dataset: { model: model.name } },
        h("span", { class: "name" }, model.name), h("span", { class: "soft" }, [bytes(model.size), loaded?.state].filter(Boolean).join(" · ")),
        loaded ? button("Unload", () => unload(model.name)) : button("Load", () => load(model.name)),
        state.manage && button("Remove", () => remove(model.name, model.size), "danger"));
    }));
    none.hidden = state.models.length > 0;
    none.textContent = state.connection === "up" ? "No model is installed yet: pull smollm2, a small one." : "The host knows which models there are.";
  }

  show(store.state);
  const unsubscribe = store.subscribe(show);
  return { element: h("div", {}, form, problem, jobs, list, none), dispose: unsubscribe };
}
