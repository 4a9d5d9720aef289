// The tab of the models: pulls, and what is installed. Knows where each part stands, and what is said when there is nothing.

import { createActions } from "./actions.js";
import { h, setText } from "./dom.js";
import { createJobs } from "./jobs.js";
import { createModelList } from "./model-list.js";
import { createPulling } from "./pulling.js";

/** @typedef {import("./store.js").State} State */

const FIRST = "smollm2";
const BARRED = "This server lets models be used, not added or removed. Whoever runs it can allow that (c.IllamaServerApp.allow_manage).";
const LIMITED = "Behind this panel is an inference key: models can be used, and the first question loads one. To add, remove, load or unload them takes the owner's key.";

/** @param {import("./panel.js").Context} context @returns {import("./panel.js").Part} */
export function createModels(context) {
  const { store } = context;
  /** @type {ReturnType<typeof createJobs>} */
  let jobs;
  const pulling = createPulling(context, (job, line) => jobs.move(job, line));
  jobs = createJobs(pulling);
  const list = createModelList(context, createActions(context), pulling.tell);
  const barred = h("p", { class: "soft", hidden: true });
  const first = h("button", { type: "button", class: "primary", on: { click: () => pulling.start({ model: FIRST }) } }, `Pull ${FIRST}`);
  const stale = h("p", { class: "soft", hidden: true }, "The list is as the model host last told it.");
  const words = h("p");
  const none = h("div", { class: "none" }, words, first);

  /** @param {State} state */
  function show(state) {
    const { connection, limited, manage, models } = state;
    const there = connection === "up";
    pulling.form.hidden = !manage;
    barred.hidden = manage || !there;
    setText(barred, limited ? LIMITED : BARRED);
    jobs.show(there ? state.jobs : []);
    list.draw();
    none.hidden = models.length > 0;
    const pulls = state.jobs.some((job) => job.state === "running");
    first.hidden = !manage || !there || pulls;
    setText(words, there && pulls ? "No model is installed yet; the first one is on its way." : EMPTY[connection]);
    stale.hidden = there || models.length === 0;
  }

  show(store.state);
  const unsubscribe = store.subscribe(show);
  return {
    element: h("div", { class: "models-part" }, pulling.form, pulling.notice.element, barred, jobs.element, none, stale, list.element),
    dispose() {
      unsubscribe();
      pulling.dispose();
    },
  };
}

/** What is said where no model is listed. @type {Record<State["connection"], string>} */
const EMPTY = {
  asking: "Asking the model host which models there are…",
  starting: "The model host is starting; then the models are listed here.",
  up: "No model is installed yet. Pull one by its name: smollm2 is small, and answers on any machine.",
  down: "Which models there are, the model host knows. When it runs again, they are listed here.",
};
