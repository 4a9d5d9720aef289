// The status page: asks the gate beside it what the model host does, and shows it. It changes nothing.
// All that comes from the host is put in as text, never as HTML.

// Milliseconds between two looks, while a host answers and while none does. A page that nobody sees does not look.
const POLL = { up: 3000, down: 20000 };

/** @param {string} id */
const find = (id) => /** @type {HTMLElement} */ (document.getElementById(id));

/** The address of something beside this page, whatever Jupyter's base URL is. @param {string} path */
const beside = (path) => new URL(path, location.origin + location.pathname).href;

/** Ask the gate. @param {string} path @param {boolean} poll whether it is a look that shall start and keep up nothing */
async function ask(path, poll) {
  const answer = await fetch(beside(path) + (poll ? "?no_track_activity=1" : ""), { credentials: "same-origin" });
  const body = await answer.json().catch(() => ({}));
  if (!answer.ok) throw Object.assign(new Error(body.error || `The server answered ${answer.status}.`), { code: body.code });
  return body;
}

/** @param {number} bytes */
const size = (bytes) => (bytes >= 1e9 ? `${(bytes / 1e9).toFixed(1)} GB` : `${(bytes / 1e6).toFixed(1)} MB`);

/** @param {HTMLElement} place @param {string[]} titles @param {string[][]} rows @param {string} none */
function table(place, titles, rows, none) {
  if (!rows.length) {
    const text = Object.assign(document.createElement("p"), { className: "none", textContent: none });
    place.replaceChildren(text);
    return;
  }
  const made = document.createElement("table");
  const head = made.createTHead().insertRow();
  for (const title of titles) {
    head.append(Object.assign(document.createElement("th"), { scope: "col", textContent: title }));
  }
  const body = made.createTBody();
  for (const row of rows) {
    const line = body.insertRow();
    for (const cell of row) line.insertCell().textContent = cell;
  }
  place.replaceChildren(made);
}

/** @param {string} state @param {string} text @param {string} problem */
function say(state, text, problem = "") {
  const status = find("status");
  if (status.textContent !== text) status.textContent = text;
  status.dataset.state = state;
  find("problem").textContent = problem;
  find("problem").hidden = !problem;
  find("start").hidden = state !== "down";
}

async function look(poll = true) {
  try {
    // One after the other at first: where no host runs, one request is enough to learn it.
    const version = await ask("../api/version", poll);
    const [running, installed] = await Promise.all([ask("../api/ps", poll), ask("../api/tags", poll)]);
    say("up", `The model host runs (illama ${version.version}).`);
    table(
      find("loaded"),
      ["Model", "Device", "State", "Running", "Waiting"],
      running.models.map((m) => [m.name, m.device || "", m.state || "", String(m.running ?? ""), String(m.queued ?? "")]),
      "No model is loaded: the first request for one loads it.",
    );
    table(
      find("models"),
      ["Model", "Size", "Context"],
      installed.models.map((m) => [m.name, size(m.size || 0), m.context_length ? `${m.context_length} tokens` : ""]),
      "No model is installed yet: `illama pull smollm2` in a terminal fetches a small one.",
    );
    example(installed.models[0]?.name);
  } catch (problem) {
    for (const id of ["loaded", "models"]) table(find(id), [], [], "Nobody can say: no model host answers.");
    say("down", "No answer from the model host.", problem instanceof Error ? problem.message : String(problem));
  }
}

/** @param {string | undefined} model */
function example(model) {
  find("example").textContent = [
    "import openai",
    "",
    `client = openai.OpenAI(base_url="${beside("../v1")}", api_key="YOUR JUPYTER TOKEN")`,
    "answer = client.chat.completions.create(",
    `    model=${JSON.stringify(model || "MODEL")},`,
    '    messages=[{"role": "user", "content": "What is the capital of France?"}],',
    ")",
    "print(answer.choices[0].message.content)",
  ].join("\n");
}

async function keepLooking() {
  if (!document.hidden) await look();
  setTimeout(keepLooking, find("status").dataset.state === "up" ? POLL.up : POLL.down);
}

find("openai-url").textContent = beside("../v1");
find("ollama-url").textContent = beside("../api");
find("start").addEventListener("click", async (event) => {
  const button = /** @type {HTMLButtonElement} */ (event.currentTarget);
  button.disabled = true;
  say("asking", "Starting the model host…");
  await look(false);
  button.disabled = false;
});
example(undefined);
keepLooking();
