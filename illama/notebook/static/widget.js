// The notebook's entry: finds the way to the model host, and puts the panel into the output. Must stand on its own.

/** @typedef {import("./kernel.js").Model} Model */
/** @typedef {typeof import("./panel.js")} Panel */

// Milliseconds that a panel beside the notebook has to appear in.
const DOCKING = 3000;

/** The address of the Jupyter server's `illama/`, if its extension answers there. @returns {Promise<string | null>} */
async function throughServer() {
  const config = document.getElementById("jupyter-config-data")?.textContent;
  if (!config) return null;
  try {
    const base = new URL(`${JSON.parse(config).baseUrl.replace(/\/$/, "")}/illama/`, location.origin);
    if (base.origin !== location.origin) return null;
    const answer = await fetch(new URL("api/version?no_track_activity=1", base), { credentials: "same-origin" });
    const body = await answer.json();
    // A host that does not run yet is told of in our own words too.
    return "version" in body || ("error" in body && "code" in body) ? base.href : null;
  } catch {
    return null;
  }
}

/** The panel's files, from the kernel. @param {Model} model @returns {Promise<Record<string, string>>} */
function fromKernel(model) {
  return new Promise((done) => {
    const id = crypto.randomUUID();
    const hear = (/** @type {any} */ message) => {
      if (message?.id !== id) return;
      model.off("msg:custom", hear);
      done(message.sources);
    };
    model.on("msg:custom", hear);
    model.send({ id, sources: true });
  });
}

/** Make modules of these files. Returns how to import one. @param {Record<string, string>} sources */
function modules(sources) {
  /** @type {Map<string, string>} */
  const made = new Map();
  /** @param {string} name @returns {string} */
  function address(name) {
    const known = made.get(name);
    if (known) return known;
    const text = sources[name].replace(/from "\.\/([\w-]+\.js)"/g, (_, other) => `from "${address(other)}"`);
    const url = URL.createObjectURL(new Blob([text], { type: "text/javascript" }));
    made.set(name, url);
    return url;
  }
  return (/** @type {string} */ name) => import(address(name));
}

/** @param {Model} model @param {HTMLElement} place */
async function open(model, place) {
  const base = await throughServer();
  if (base) {
    try {
      /** @type {[Panel, typeof import("./server.js")]} */
      const [panel, server] = await Promise.all([import(`${base}ui/panel.js`), import(`${base}ui/server.js`)]);
      return panel.mount(place, server.serverTransport(base));
    } catch (error) {
      console.warn("illama: the server's panel cannot be used, the kernel's is.", error);
    }
  }
  const sources = await fromKernel(model);
  const load = modules(sources);
  /** @type {[Panel, typeof import("./kernel.js")]} */
  const [panel, kernel] = await Promise.all([load("panel.js"), load("kernel.js")]);
  const css = panel.STYLES.map((name) => sources[name]).join("\n");
  return panel.mount(place, kernel.kernelTransport(model), { css });
}

/** Wait until an element is in the page: one that goes beside the notebook never is, where there is no such place.
 * @param {HTMLElement} el @param {AbortSignal} over */
async function attached(el, over) {
  while (!el.isConnected) {
    await new Promise((done) => setTimeout(done, 100));
    over.throwIfAborted();
  }
}

/** Whether a panel stands beside the notebook, or comes to stand there soon. @param {AbortSignal} over */
async function standsBeside(over) {
  for (const end = Date.now() + DOCKING; Date.now() < end; ) {
    if (document.querySelector(".illama-panel.docked")) return true;
    await new Promise((done) => setTimeout(done, 100));
    over.throwIfAborted();
  }
  return false;
}

/** Wait until it is asked for here. @param {HTMLElement} place */
async function askedFor(place) {
  const button = document.createElement("button");
  button.textContent = "Show it here";
  const words = document.createElement("p");
  words.append("The panel stands beside the notebook. ", button);
  place.append(words);
  await new Promise((done) => button.addEventListener("click", done));
  words.remove();
}

/** @param {{ model: Model & { get: (name: string) => any }, el: HTMLElement }} given */
function render({ model, el }) {
  const over = new AbortController();
  const place = document.createElement("div");
  el.append(place);
  async function show() {
    await attached(el, over.signal);
    const inCell = el.closest(".jp-Cell") !== null;
    // In a cell's output it must not push the notebook away.
    place.classList.add(inCell ? "inline" : "docked");
    if (inCell && model.get("docked") && (await standsBeside(over.signal))) await askedFor(place);
    over.signal.throwIfAborted();
    return open(model, place);
  }
  const opened = show();
  opened.catch((error) => {
    if (!over.signal.aborted) place.textContent = `illama's panel cannot be shown: ${error instanceof Error ? error.message : error}`;
  });
  return () => {
    over.abort();
    opened.then((panel) => panel.dispose(), () => {});
  };
}

export default { render };
