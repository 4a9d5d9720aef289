// Markdown's blocks as shapes: headings, lists, quotes, code, tables, rules, paragraphs. Knows lines. Does not know the DOM.
//
// Where a block ends is decided by the line that follows it, never by a later one. So a text that grows can be parsed
// from the last block's first line on: what is before it stays as it is.

import { inline } from "./inline.js";

/** @typedef {import("./inline.js").Shape} Shape */
/** @typedef {import("./inline.js").Piece} Piece */
/** @typedef {{shape: Shape, end: number}} Found a block, and the line that follows it */

const FENCE = /^ {0,3}(`{3,}|~{3,})([^`]*)$/;
const HEADING = /^ {0,3}(#{1,6})(?:[ \t](.*))?$/;
const RULE = /^ {0,3}([-*_])(?:[ \t]*\1){2,}[ \t]*$/;
const QUOTE = /^ {0,3}> ?/;
const ITEM = /^( {0,3})([-*+]|\d{1,9}[.)])(?:( +)(.*)|)$/;
const UNDERLINE = /^ {0,3}={3,}[ \t]*$/;
const DELIMITERS = /^ {0,3}\|?[ \t]*:?-+:?[ \t]*(?:\|[ \t]*:?-+:?[ \t]*)*\|?[ \t]*$/;
// Lists and quotes in one another: what is deeper is a paragraph.
const MAX_DEPTH = 12;

/** The blocks of these lines; `start` is a block's first line. @param {string[]} lines @param {number} [depth] @returns {Shape[]} */
export function blocks(lines, depth = 0) {
  /** @type {Shape[]} */
  const found = [];
  for (let at = 0; at < lines.length; ) {
    if (!lines[at].trim()) {
      at++;
      continue;
    }
    const { shape, end } = block(lines, at, depth);
    shape.start = at;
    found.push(shape);
    at = end;
  }
  return found;
}

/** @param {string[]} lines @param {number} at @param {number} depth @returns {Found} */
function block(lines, at, depth) {
  const line = lines[at];
  if (FENCE.test(line)) return fenced(lines, at);
  if (/^(?: {4}|\t)/.test(line)) return indented(lines, at);
  const heading = HEADING.exec(line);
  if (heading) {
    const text = (heading[2] ?? "").trim().replace(/(?:^|[ \t])#+$/, "");
    // The panel has headings of its own, up to the third level.
    return { shape: { tag: `h${Math.min(heading[1].length + 3, 6)}`, attributes: { class: `h${heading[1].length}` }, children: inline(text.trim()) }, end: at + 1 };
  }
  if (RULE.test(line)) return { shape: { tag: "hr", children: [] }, end: at + 1 };
  if (depth < MAX_DEPTH && QUOTE.test(line)) return quote(lines, at, depth);
  if (depth < MAX_DEPTH && ITEM.test(line)) return list(lines, at, depth);
  if (tableBegins(lines, at)) return table(lines, at);
  return paragraph(lines, at, depth);
}

/** Whether a line ends the paragraph before it. @param {string} line @param {number} depth */
function interrupts(line, depth) {
  if (FENCE.test(line) || HEADING.test(line) || RULE.test(line)) return true;
  if (depth >= MAX_DEPTH) return false;
  const item = ITEM.exec(line);
  // A line that begins with a year and a dot is no list.
  return QUOTE.test(line) || (item !== null && Boolean(item[4]) && (item[2].length === 1 || /^1[.)]/.test(item[2])));
}

/** @param {string[]} lines @param {number} at @returns {Found} */
function fenced(lines, at) {
  const [, fence, info] = /** @type {RegExpExecArray} */ (FENCE.exec(lines[at]));
  const indent = new RegExp(`^ {0,${lines[at].indexOf(fence)}}`);
  const code = [];
  let end = at + 1;
  for (; end < lines.length; end++) {
    const closing = /^ {0,3}(`{3,}|~{3,})[ \t]*$/.exec(lines[end]);
    if (closing && closing[1][0] === fence[0] && closing[1].length >= fence.length) break;
    code.push(lines[end].replace(indent, ""));
  }
  return { shape: codeBlock(code.join("\n"), info.trim()), end: end + 1 };
}

/** @param {string[]} lines @param {number} at @returns {Found} */
function indented(lines, at) {
  let end = at;
  let last = at;
  for (; end < lines.length && (/^(?: {4}|\t)/.test(lines[end]) || !lines[end].trim()); end++) if (lines[end].trim()) last = end;
  const code = lines.slice(at, last + 1).map((line) => line.replace(/^(?: {4}|\t| {0,3}$)/, ""));
  return { shape: codeBlock(code.join("\n"), ""), end };
}

/** @param {string} code @param {string} info @returns {Shape} */
function codeBlock(code, info) {
  /** @type {Shape} */
  const copy = { tag: "button", attributes: { type: "button", class: "copy-code", "aria-label": "Copy this code" }, children: ["Copy"] };
  /** @type {Shape} */
  const text = { tag: "pre", attributes: { tabindex: "0", "aria-label": "Code" }, children: [{ tag: "code", children: [code] }] };
  return {
    tag: "div",
    attributes: { class: "code" },
    children: [{ tag: "div", attributes: { class: "code-head" }, children: [{ tag: "span", children: [info] }, copy] }, text],
  };
}

/** @param {string[]} lines @param {number} at @param {number} depth @returns {Found} */
function quote(lines, at, depth) {
  let end = at;
  while (end < lines.length && QUOTE.test(lines[end])) end++;
  const inside = lines.slice(at, end).map((line) => line.replace(QUOTE, ""));
  return { shape: { tag: "blockquote", children: blocks(inside, depth + 1) }, end };
}

/** @param {string[]} lines @param {number} at @param {number} depth @returns {Found} */
function list(lines, at, depth) {
  const kind = (/** @type {string} */ marker) => marker.replace(/\d+/, "1");
  const first = /** @type {RegExpExecArray} */ (ITEM.exec(lines[at]))[2];
  /** @type {Shape[]} */
  const items = [];
  let end = at;
  for (;;) {
    const item = end < lines.length && !RULE.test(lines[end]) ? ITEM.exec(lines[end]) : null;
    if (!item || kind(item[2]) !== kind(first)) break;
    const { inside, end: after } = itemLines(lines, end, item, depth);
    const attributes = /\d/.test(item[2]) ? { value: String(parseInt(item[2], 10)) } : undefined;
    items.push({ tag: "li", attributes, children: tight(blocks(inside, depth + 1)) });
    end = after;
  }
  return { shape: { tag: /\d/.test(first) ? "ol" : "ul", children: items }, end };
}

/** An item's own lines, and the line that follows them. @param {string[]} lines @param {number} at @param {RegExpExecArray} item @param {number} depth */
function itemLines(lines, at, item, depth) {
  const [, before, marker, gap = " ", text = ""] = item;
  const width = before.length + marker.length + (gap.length > 4 ? 1 : gap.length);
  // Models often indent a nested list by less than CommonMark asks for.
  const enough = Math.min(width, before.length + 2);
  const inside = [gap.length > 4 ? gap.slice(1) + text : text];
  let end = at + 1;
  let blank = false;
  let open = FENCE.test(inside[0]);
  for (; end < lines.length; end++) {
    const line = lines[end].replace(/^\t+/, (tabs) => "    ".repeat(tabs.length));
    const indent = line.search(/[^ ]/);
    if (indent < 0) {
      blank = true;
      inside.push("");
      continue;
    }
    if (indent >= enough) inside.push(line.slice(Math.min(indent, width)));
    else if (blank || open || ITEM.test(line) || interrupts(line, depth)) break;
    else inside.push(line);
    blank = false;
    if (FENCE.test(/** @type {string} */ (inside.at(-1)))) open = !open;
  }
  return { inside, end };
}

/** An item of one paragraph is its text. @param {Shape[]} shapes @returns {Piece[]} */
function tight(shapes) {
  return shapes[0]?.tag === "p" ? [...shapes[0].children, ...shapes.slice(1)] : shapes;
}

/** @param {string[]} lines @param {number} at */
function tableBegins(lines, at) {
  const [head, below] = [lines[at], lines[at + 1] ?? ""];
  return head.includes("|") && below.includes("|") && DELIMITERS.test(below) && cells(head).length === cells(below).length;
}

/** @param {string} line @returns {string[]} */
function cells(line) {
  const inner = line.trim().replace(/^\|/, "").replace(/(?<!\\)\|$/, "");
  return inner.split(/(?<!\\)\|/).map((cell) => cell.trim().replaceAll("\\|", "|"));
}

/** @param {string[]} lines @param {number} at @returns {Found} */
function table(lines, at) {
  const sides = cells(lines[at + 1]).map((cell) => (cell.endsWith(":") ? (cell.startsWith(":") ? "center" : "end") : undefined));
  const row = (/** @type {string} */ line, /** @type {string} */ tag) => {
    const shapes = cells(line).map((cell, index) => {
      const side = sides[index];
      const attributes = { ...(side && { class: side }), ...(tag === "th" && { scope: "col" }) };
      return { tag, attributes, children: inline(cell) };
    });
    return { tag: "tr", children: shapes };
  };
  let end = at + 2;
  while (end < lines.length && lines[end].trim() && !interrupts(lines[end], 0)) end++;
  const head = { tag: "thead", children: [row(lines[at], "th")] };
  const body = { tag: "tbody", children: lines.slice(at + 2, end).map((line) => row(line, "td")) };
  const whole = { tag: "table", children: [head, body] };
  return { shape: { tag: "div", attributes: { class: "table", tabindex: "0", role: "group", "aria-label": "Table" }, children: [whole] }, end };
}

/** @param {string[]} lines @param {number} at @param {number} depth @returns {Found} */
function paragraph(lines, at, depth) {
  let end = at + 1;
  for (; end < lines.length && lines[end].trim() && !interrupts(lines[end], depth); end++) {
    if (UNDERLINE.test(lines[end])) {
      return { shape: { tag: "h4", attributes: { class: "h1" }, children: inline(joined(lines, at, end)) }, end: end + 1 };
    }
    if (tableBegins(lines, end)) break;
  }
  return { shape: { tag: "p", children: inline(joined(lines, at, end)) }, end };
}

/** @param {string[]} lines @param {number} at @param {number} end */
const joined = (lines, at, end) => lines.slice(at, end).map((line) => line.trim()).join("\n");
