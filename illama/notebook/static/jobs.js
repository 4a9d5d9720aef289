// The pulls under way and those that failed, with what can be done about each. Does not know who started them.

import { h, setText } from "./dom.js";
import { bytes, duration, percent, rate } from "./format.js";
import { createNotice } from "./notice.js";
import { createPace } from "./pace.js";
import { CONVERTER, CONVERTER_NEEDED } from "./pulling.js";
import { createRows } from "./rows.js";
import { phase } from "./words.js";

/** @typedef {import("./store.js").Job} Job */
/** @typedef {import("./pulling.js").Wish} Wish */

/** @param {import("./pulling.js").Pulling} pulling */
export function createJobs(pulling) {
  const list = h("ul", { class: "list jobs", "aria-label": "Pulls" });
  const rows = createRows(list, (/** @type {Job} */ job) => createJob(job, pulling));
  return {
    element: list,
    /** Show what the host tells. @param {Job[]} jobs */
    show(jobs) {
      const told = jobs.filter((job) => job.state === "running" || job.state === "failed");
      rows.show(told.map((job) => [job.id, job]), (row, job) => row.update(job));
      list.hidden = told.length === 0;
    },
    /** Show a line of a pull's own, which come more often. @param {string} id @param {any} line */
    move: (id, line) => rows.get(id)?.move(line),
  };
}

/** @param {Job} first @param {import("./pulling.js").Pulling} pulling */
function createJob(first, pulling) {
  let job = first;
  const pace = createPace();
  const notice = createNotice();
  const name = h("span", { class: "name" }, title(first));
  const mark = h("span", { class: "mark" });
  const what = h("p", { class: "soft status-line" });
  const bar = h("progress", { "aria-label": `Progress of ${first.source}` });
  const figures = h("p", { class: "figures" });
  const error = h("p", { class: "error" });
  const button = (/** @type {string} */ text, /** @type {() => unknown} */ click, kind = "") =>
    h("button", { type: "button", class: kind, "aria-label": `${text}: ${first.source}`, on: { click: () => attempt(click) } }, text);
  const cancel = button("Cancel", () => pulling.cancel(job));
  const make = button("Make it and pull", () => pulling.agree(wish(job), parted(job), job.id), "primary");
  const again = button("Try again", () => pulling.start(wish(job)));
  const dismiss = button("Dismiss", () => pulling.forget(job.id));
  const element = h("li", { class: "job", dataset: { job: first.id } },
    h("div", { class: "row" }, name, mark, h("span", { class: "actions" }, cancel, make, again, dismiss)),
    bar, figures, what, error, notice.element);

  /** @param {() => unknown} work */
  async function attempt(work) {
    notice.clear();
    try {
      await work();
    } catch (problem) {
      notice.fail(problem);
    }
  }

  function draw() {
    const failed = job.state === "failed";
    element.classList.toggle("failed", failed);
    setText(mark, failed ? "✕ failed" : `◌ ${phase(job.phase, "under way")}`);
    setText(what, failed ? "" : job.status);
    what.hidden = failed || job.status === "";
    const { message, hint } = parted(job);
    const asks = failed && job.code === CONVERTER_NEEDED;
    setText(error, failed ? `${message} ${asks ? CONVERTER : hint}`.trim() : "");
    error.hidden = !failed;
    bar.hidden = figures.hidden = failed;
    cancel.hidden = failed;
    make.hidden = !asks;
    again.hidden = !failed || asks;
    dismiss.hidden = !failed;
    if (!failed) progress();
  }

  function progress() {
    const { completed, total } = job;
    const seen = pace.see(`${job.phase} ${total}`, completed, total, performance.now());
    const whole = total !== null && completed === total;
    if (total && completed !== null && completed !== undefined) {
      bar.max = total;
      bar.value = completed;
    } else {
      bar.removeAttribute("value"); // it goes on, nobody knows how far
    }
    const told = [
      percent(completed, total),
      completed ? (total ? `${bytes(completed)} of ${bytes(total)}` : bytes(completed)) : "",
      seen && !whole && rate(seen.perSecond),
      seen && seen.left !== null && !whole && `about ${duration(Math.ceil(seen.left))} left`,
    ];
    setText(figures, told.filter(Boolean).join(" · "));
  }

  return {
    element,
    /** @param {Job} now */
    update(now) {
      job = now;
      draw();
    },
    /** @param {any} line */
    move(line) {
      if (job.state !== "running" || !line.phase) return;
      job = { ...job, phase: line.phase, status: line.status ?? job.status, completed: line.completed ?? null, total: line.total ?? null };
      draw();
    },
  };
}

/** What has to be asked for to have the same pull again. @param {Job} job @returns {Wish} */
function wish({ source, name, device, weight_format, trust_remote_code }) {
  const more = Object.entries({ name, device, weight_format, trust_remote_code }).filter(([, value]) => value);
  return { model: source, ...Object.fromEntries(more) };
}

/** @param {Job} job */
function title({ source, name }) {
  return name && name !== source ? `${source} as ${name}` : source;
}

/** What happened, and apart from it what to do: a job's error has both. @param {Job} job */
function parted({ error = "", hint = "" }) {
  return { message: hint && error.endsWith(hint) ? error.slice(0, -hint.length).trim() : error, hint };
}
