// What the host is doing, as far as the panel knows: one poll, one state, those who listen. Draws nothing.

import { ApiError, asApiError } from "./transport.js";

/** @typedef {import("./transport.js").Transport} Transport */
/** One installed model, as `GET /api/tags` tells it.
 * @typedef {{ name: string, size: number, digest: string, task: string, modified_at: string, context_length: number | null,
 *   weight_format: string | null, aliases: string[], details: Record<string, any> }} Tag */
/** One loaded model, as `GET /api/ps` tells it.
 * @typedef {{ name: string, size: number, size_vram: number, device: string, state: string, running: number, queued: number,
 *   tokens_per_second: number, memory: Record<string, number | null>, until_seconds: number | null, keep_alive: number, load_seconds: number,
 *   pipeline: string | null, pid: number | null, task: string | null, context_length: number | null }} Loaded */
/** One pull, as `GET /api/ps` tells it.
 * @typedef {{ id: string, source: string, name: string | null, state: string, status: string, phase: string | null,
 *   completed: number | null, total: number | null, watchers: number, started_at: string, ended_at?: string, error?: string, hint?: string, code?: string,
 *   device?: string, weight_format?: string, trust_remote_code?: boolean }} Job */
/** @typedef {{ t: number, tokensPerSecond: number, memory: number }} Sample t in milliseconds */
/**
 * @typedef {object} State
 * @property {"asking" | "up" | "down" | "starting"} connection
 * @property {ApiError | null} problem why it is down
 * @property {string | null} version
 * @property {Tag[]} models
 * @property {Loaded[]} loaded
 * @property {Job[]} jobs
 * @property {boolean} manage whether models may be added and removed
 * @property {Sample[]} samples the latest, oldest first
 * @property {Record<string, any>} ps the whole of the last answer
 * @property {ApiError | null} limited why nothing of the work is told: the key behind this panel may use models and no more
 */
/** @typedef {ReturnType<typeof createStore>} Store */

const SAMPLES = 120;
// Milliseconds from one look to the next.
const BUSY = 1000;
const IDLE = 3000;
const AWAY = 10000;
const UNSEEN = 30000;
// Bytes of a look beside its answer: both sides' headers and the cookies.
const HEADERS = 1200;

/** Begin to look. @param {Transport} transport */
export function createStore(transport) {
  /** @type {State} */
  const state = {
    connection: "asking", problem: null, version: null, models: [], loaded: [], jobs: [], manage: true, samples: [], ps: {}, limited: null,
  };
  /** @type {Set<(state: State) => void>} */
  const listeners = new Set();
  /** @type {string | null} */
  let registry = null;
  let shown = true;
  let over = false;
  let failures = 0;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  let timer;
  /** @type {Promise<void> | null} */
  let looking = null;

  function tell() {
    for (const listener of listeners) listener(state);
  }

  /** What `ps` tells; for an inference key, which may not see it, nothing but that. */
  async function work() {
    try {
      const ps = await transport.ask("GET", "/api/ps", undefined, { poll: true });
      state.limited = null;
      return ps;
    } catch (error) {
      if (!(error instanceof ApiError) || error.status !== 403) throw error;
      state.limited = error;
      // Nobody says when the list of models changes: now and then it is read anew.
      return { models: [], jobs: [], registry: `unseen ${Math.floor(Date.now() / UNSEEN)}` };
    }
  }

  async function look() {
    try {
      const ps = await work();
      if (state.version === null || state.connection !== "up") {
        state.version = (await transport.ask("GET", "/api/version", undefined, { poll: true })).version;
      }
      if (registry === null || ps.registry !== registry) {
        state.models = (await transport.ask("GET", "/api/tags", undefined, { poll: true })).models;
        registry = ps.registry ?? null;
      }
      take(ps);
      failures = 0;
    } catch (error) {
      failures += 1;
      state.problem = asApiError(error);
      if (state.connection !== "starting") state.connection = "down";
      Object.assign(state, { loaded: [], jobs: [] });
    }
    state.manage = transport.manage && !state.limited;
    if (!over) tell();
  }

  /** @param {any} ps */
  function take(ps) {
    Object.assign(state, { connection: "up", problem: null, loaded: ps.models, jobs: ps.jobs ?? [], ps });
    const total = (/** @type {(model: Loaded) => number} */ of) => state.loaded.reduce((sum, model) => sum + of(model), 0);
    const measured = (/** @type {Loaded} */ model) => Object.values(model.memory).reduce((/** @type {number} */ sum, kind) => sum + (kind ?? 0), 0);
    const busy = (/** @type {Loaded} */ model) => (model.running ? model.tokens_per_second : 0);
    state.samples.push({ t: Date.now(), tokensPerSecond: total(busy), memory: total(measured) });
    state.samples.splice(0, state.samples.length - SAMPLES);
  }

  function pause() {
    if (state.connection !== "up") return Math.min(BUSY * 2 ** Math.min(failures, 4), AWAY);
    if (state.limited) return AWAY;
    const working = state.loaded.some((model) => model.running || model.queued || model.state !== "ready");
    if (working || state.jobs.some((job) => job.state === "running")) return BUSY;
    // A host that remembers much, such as pulls that failed, is asked less often: a byte a millisecond is all that idling may cost.
    return Math.min(Math.max(IDLE, JSON.stringify(state.ps).length + HEADERS), AWAY);
  }

  /** Look now; who asks while a look is under way gets one that begins after it. */
  async function refresh() {
    if (looking) await looking;
    if (over) return;
    clearTimeout(timer);
    looking ??= look().finally(() => (looking = null));
    await looking;
    clearTimeout(timer);
    if (!over && visible()) timer = setTimeout(refresh, pause());
  }

  const visible = () => shown && !document.hidden;

  function changed() {
    if (visible()) refresh();
    else clearTimeout(timer);
  }

  document.addEventListener("visibilitychange", changed);
  refresh();

  return {
    state,
    refresh,
    /** Be called with the state whenever it has been looked at. @param {(state: State) => void} listener */
    subscribe(listener) {
      listeners.add(listener);
      return () => void listeners.delete(listener);
    },
    /** Whether somebody can see the panel: nobody looks for who does not. @param {boolean} now */
    setShown(now) {
      if (shown === now) return;
      shown = now;
      changed();
    },
    /** Have a host started. */
    async start() {
      state.connection = "starting";
      tell();
      if (looking) await looking;
      clearTimeout(timer); // until it is there, a look finds nothing
      try {
        await transport.ask("GET", "/api/version");
      } catch (error) {
        state.problem = asApiError(error);
      }
      // What the next look finds is what is true.
      state.connection = "asking";
      await refresh();
    },
    dispose() {
      over = true;
      clearTimeout(timer);
      document.removeEventListener("visibilitychange", changed);
      listeners.clear();
    },
  };
}
