// Puts a text into a new cell of the notebook on the page, by what its user would do: the toolbar's button, and a paste.
// Knows: what JupyterLab and Notebook 7 call their elements. Does not know: what the text is.

const ADD = '[data-command="notebook:insert-cell-below"]';
// Frames that the new cell has to appear in.
const PATIENCE = 120;

/** Makes a cell of a text, and says whether it could. @typedef {(text: string) => Promise<boolean>} CellWriter */

/** Who writes cells; null on a page that has no notebook. @returns {CellWriter | null} */
export function cellWriter() {
  return document.querySelector(".jp-NotebookPanel") ? write : null;
}

/** @param {string} text */
async function write(text) {
  const panels = [...document.querySelectorAll(".jp-NotebookPanel")];
  const notebook = panels.find((panel) => panel.checkVisibility());
  const add = notebook && (notebook.querySelector(`.jp-Toolbar ${ADD}`) ?? notebook.querySelector(ADD));
  if (!notebook || !(add instanceof HTMLElement)) return false;
  const active = () => notebook.querySelector(".jp-Cell.jp-mod-active");
  const before = active();
  // Lab's buttons act on one or the other of these: those that leave the focus alone, on the first.
  for (const name of ["mousedown", "click"]) add.dispatchEvent(new MouseEvent(name, { bubbles: true, cancelable: true }));
  for (let frame = 0; frame < PATIENCE; frame++) {
    await new Promise((done) => setTimeout(done, 16));
    const cell = active();
    const editor = cell !== before && cell?.querySelector(".cm-content");
    if (editor) return paste(editor, text);
  }
  return false;
}

/** @param {Element} editor @param {string} text */
function paste(editor, text) {
  const clipboard = new DataTransfer();
  clipboard.setData("text/plain", text);
  // The editor takes it, or leaves it to the browser, which does nothing with an event that is not the user's.
  return !editor.dispatchEvent(new ClipboardEvent("paste", { clipboardData: clipboard, bubbles: true, cancelable: true }));
}
