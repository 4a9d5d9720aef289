// What the host's short words mean for people. Knows words. Does not know where they are shown.

/** @type {Record<string, string>} */
const TASKS = {
  "text-generation": "text",
  "image-text-to-text": "text and images",
  embedding: "embeddings",
  rerank: "reranking",
};

/** A state's sign, which tells it without colour, and its words. @type {Record<string, [sign: string, words: string]>} */
const STATES = {
  empty: ["○", "waiting for the device"],
  loading: ["◌", "loading"],
  ready: ["●", "loaded"],
  draining: ["◐", "finishing what runs"],
  unloading: ["◌", "unloading"],
};

/** @type {Record<string, string>} */
const PHASES = {
  resolve: "Looking for it",
  download: "Downloading",
  check: "Checking",
  extract: "Unpacking",
  environment: "Making the converter's environment",
  convert: "Converting",
  copy: "Copying",
  prove: "Trying it out",
  register: "Registering",
};

/** What a model is for. @param {string | null} name */
export const task = (name) => (name && TASKS[name]) || name || "";

/** A state of a loaded model. @param {string} name */
export const state = (name) => STATES[name] ?? ["○", name];

/** A phase of a pull. @param {string | null} name @param {string} otherwise */
export const phase = (name, otherwise) => (name && PHASES[name]) || otherwise;

/** Minutes and seconds, as a clock counts down: `4:05`. @param {number} seconds */
export function clock(seconds) {
  const whole = Math.max(Math.ceil(seconds), 0);
  const two = (/** @type {number} */ part) => String(part).padStart(2, "0");
  const hours = Math.floor(whole / 3600);
  const minutes = Math.floor(whole / 60) % 60;
  return hours ? `${hours}:${two(minutes)}:${two(whole % 60)}` : `${minutes}:${two(whole % 60)}`;
}
