// One loaded model: its state, its work, its memory, and how long it stays. Knows the figures of `GET /api/ps`.

import { h, setText } from "./dom.js";
import { bytes, count, duration, plural } from "./format.js";
import { createNotice } from "./notice.js";
import { clock, state, task } from "./words.js";

/** @typedef {import("./store.js").Loaded} Loaded */

/** @param {Loaded} first @param {import("./actions.js").Actions} actions */
export function createLoadedCard(first, actions) {
  let model = first;
  // When the time left was told, by the page's own clock: it goes on between two looks.
  let told = 0;
  let leaves = false;
  const notice = createNotice();
  const name = h("span", { class: "name" }, first.name);
  const mark = h("span", { class: "mark" });
  const facts = h("p", { class: "soft" });
  const work = h("p");
  const left = h("span", { class: "left", role: "timer" });
  const keep = h("button", { type: "button", "aria-label": `Keep ${first.name} loaded`, on: { click: () => attempt(() => actions.keep(model.name, !stays())) } }, "Keep");
  const unload = h("button", { type: "button", "aria-label": `Unload ${first.name} now`, on: { click: leave } }, "Unload now");
  const element = h("li", { class: "loaded-model", dataset: { model: first.name } },
    h("div", { class: "row" }, name, mark), work, facts, h("div", { class: "row" }, left, h("span", { class: "actions" }, keep, unload)), notice.element);

  const stays = () => model.keep_alive < 0;

  async function leave() {
    if (leaves || unload.getAttribute("aria-disabled") === "true") return;
    leaves = true;
    draw();
    await attempt(() => actions.unload(model.name));
    leaves = false;
    draw();
  }

  /** @param {() => Promise<void>} what */
  async function attempt(what) {
    notice.clear();
    try {
      await what();
    } catch (error) {
      notice.fail(error);
    }
  }

  function draw() {
    const [sign, words] = state(model.state);
    const loading = model.state === "loading";
    const going = leaves || model.state === "draining" || model.state === "unloading";
    setText(mark, `${sign} ${loading ? `loading on ${model.device} for ${duration(model.load_seconds)}` : `${words} on ${model.device}`}`);
    const waiting = model.queued ? `${plural(model.queued, "request")} waiting` : "";
    const speed = model.tokens_per_second ? ` at ${model.tokens_per_second} tokens/s` : "";
    const running = model.running ? `${plural(model.running, "request")} running${speed}` : "";
    setText(work, [running, waiting].filter(Boolean).join(", ") || (loading ? "" : "Nothing runs."));
    work.hidden = work.textContent === "";
    setText(facts, [
      task(model.task),
      loading ? "" : `${bytes(model.size)} of memory, measured`,
      model.context_length ? `context ${count(model.context_length)}` : "",
      model.pipeline === "stateful" ? "one request at a time" : model.pipeline ? "requests share it" : "",
      loading || !model.load_seconds ? "" : `loaded in ${duration(model.load_seconds)}`,
    ].filter(Boolean).join(" · "));
    setText(keep, stays() ? "Kept" : "Keep");
    keep.setAttribute("aria-pressed", String(stays()));
    keep.hidden = loading || going;
    setText(unload, going ? "Unloading…" : loading ? "Stop loading" : "Unload now");
    unload.setAttribute("aria-disabled", String(going));
    element.classList.toggle("ready", model.state === "ready");
    tick();
  }

  /** Count down. */
  function tick() {
    const ready = model.state === "ready" && !leaves;
    const rest = model.until_seconds === null ? null : model.until_seconds - (performance.now() - told) / 1000;
    if (!ready) setText(left, "");
    else if (stays()) setText(left, "Stays loaded until another model needs its place");
    else if (rest === null) setText(left, "Stays while it works");
    else setText(left, rest > 86400 * 365 ? "Stays loaded" : `Unloads in ${clock(rest)} if nobody asks it`);
  }

  return {
    element,
    tick,
    /** @param {Loaded} now @param {boolean} fresh whether the host has just told it */
    update(now, fresh) {
      model = now;
      if (fresh) told = performance.now();
      draw();
    },
  };
}
