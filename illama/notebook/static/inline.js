// A paragraph's Markdown as shapes: emphasis, code, links, addresses. Knows text. Does not know the DOM, or blocks.
//
// A model wrote the text, so nothing of it is trusted: a link leads to http, https or mailto or is no link, an image is
// its words, HTML is text. It takes time in proportion to the text's length, whatever the text is.

/** @typedef {{tag: string, attributes?: Record<string, string>, children: Piece[], start?: number}} Shape an element to be */
/** @typedef {Shape | string} Piece */
/**
 * A run of asterisks, underscores or tildes: what is left of it, and the tags that begin and end there.
 * @typedef {{character: string, count: number, original: number, opens: boolean, closes: boolean, begin: string[], end: string[]}} Run
 */
/** @typedef {{at: number, image: boolean, alive: boolean, pieces: number}} Bracket */

const SPECIAL = /[\\`*_~![\]<$]|&(?:amp|lt|gt|quot|apos|nbsp|#39);|https?:\/\//gi;
const ENTITIES = new Map(Object.entries({ amp: "&", lt: "<", gt: ">", quot: '"', apos: "'", "#39": "'", nbsp: "\u00a0" }));
// Bounded, so that what never ends is not read to its end again and again.
const DESTINATION = /\([ \t\n]{0,20}(<[^<>\n]{0,2000}>|[^\s()<]{0,2000}(?:\([^\s()]{0,500}\)[^\s()]{0,500}){0,20})(?:[ \t\n]{1,20}("[^"]{0,500}"|'[^']{0,500}'))?[ \t\n]{0,20}\)/y;
const ANGLE = /<((?:https?:\/\/|mailto:)[^\s<>]{1,2000})>/iy;
const BARE = /https?:\/\/[^\s<>"'`\\[\]|]{1,2000}/iy;
// TeX is not drawn, but kept as it was written: emphasis and escapes would spoil it.
const TEX = /\\\([^]{1,2000}?\\\)|\\\[[^]{1,2000}?\\\]|\$\$[^]{1,2000}?\$\$/y;
// What is open at once: brackets, and runs of asterisks, which is how deep emphasis can be nested.
const MAX_OPEN = 24;

/** The address, if it is one that a link of a model's may lead to. @param {string} address @returns {string | null} */
export function safeAddress(address) {
  if (!/^(?:https?:\/\/|mailto:)[^\s\p{Cc}\p{Cf}]+$/iu.test(address)) return null;
  try {
    return ["http:", "https:", "mailto:"].includes(new URL(address).protocol) ? address : null;
  } catch {
    return null;
  }
}

/** @param {string} address @param {Piece[]} children @param {string} [title] @returns {Shape} */
function link(address, children, title) {
  const attributes = { href: address, target: "_blank", rel: "noopener noreferrer nofollow", title: title ? `${title} (${address})` : address };
  return { tag: "a", attributes, children };
}

/** What a paragraph's text is made of. @param {string} text @param {boolean} [links] whether there may be links @returns {Piece[]} */
export function inline(text, links = true) {
  /** @type {(Piece | Run)[]} */
  const pieces = [];
  /** @type {Bracket[]} */
  const brackets = [];
  const ticks = tickRuns(text);
  const texBegins = /\\[([]|\$\$/.test(text);
  let written = 0;
  SPECIAL.lastIndex = 0;
  for (let at = next(text, 0); at < text.length; at = next(text, at)) {
    if (at > written) pieces.push(text.slice(written, at));
    const begun = at;
    const character = text[at];
    /** @type {RegExpExecArray | null} */
    let found = null;
    if (texBegins && (character === "\\" || character === "$") && (found = match(TEX, text, at))) {
      pieces.push({ tag: "code", attributes: { class: "tex" }, children: [found[0]] });
      at += found[0].length;
    } else if (character === "\\") {
      const escaped = /[!-/:-@[-`{-~\n]/.test(text[at + 1] ?? "");
      // Of TeX that has not ended yet, or never does, the backslash stays.
      pieces.push(!escaped ? "\\" : /[()[\]]/.test(text[at + 1]) ? text.slice(at, at + 2) : text[at + 1]);
      at += escaped ? 2 : 1;
    } else if (character === "`") {
      const [length, end] = ticks.get(at) ?? [1, -1];
      if (end < 0) pieces.push(text.slice(at, at + length));
      else pieces.push({ tag: "code", children: [trimmedCode(text.slice(at + length, end))] });
      at = end < 0 ? at + length : end + length;
    } else if (character === "*" || character === "_" || character === "~") {
      let end = at;
      while (text[end] === character) end++;
      pieces.push(run(text, at, end));
      at = end;
    } else if (character === "[" || (character === "!" && text[at + 1] === "[")) {
      const image = character === "!";
      brackets.push({ at, image, alive: links || image, pieces: pieces.length });
      if (brackets.length > MAX_OPEN) brackets.shift();
      pieces.push(image ? "![" : "[");
      at += image ? 2 : 1;
    } else if (character === "]") {
      const opened = brackets.pop();
      found = opened?.alive ? match(DESTINATION, text, at + 1) : null;
      const made = opened && found ? bracketed(text.slice(opened.at + (opened.image ? 2 : 1), at), opened.image, found) : null;
      if (opened && found && made) {
        pieces.length = opened.pieces;
        pieces.push(made);
        // A link has no link in it.
        if (!opened.image) for (const bracket of brackets) bracket.alive &&= bracket.image;
        at += 1 + found[0].length;
      } else {
        pieces.push("]");
        at += 1;
      }
    } else if (character === "<" && links && (found = match(ANGLE, text, at)) && safeAddress(found[1])) {
      pieces.push(link(found[1], [found[1].replace(/^mailto:/i, "")]));
      at += found[0].length;
    } else if (character === "&") {
      const end = text.indexOf(";", at);
      const meant = ENTITIES.get(text.slice(at + 1, end).toLowerCase());
      pieces.push(meant ?? "&");
      at = meant === undefined ? at + 1 : end + 1;
    } else if (/h/i.test(character) && links && !/[\p{L}\p{N}]/u.test(text[at - 1] ?? " ") && (found = match(BARE, text, at))) {
      const address = withoutTail(found[0]);
      pieces.push(safeAddress(address) ? link(address, [address]) : address);
      at += address.length;
    } else {
      pieces.push(character);
      at += 1;
    }
    written = at = Math.max(at, begun + 1);
  }
  if (written < text.length) pieces.push(text.slice(written));
  pair(/** @type {Run[]} */ (pieces.filter((piece) => typeof piece !== "string" && "character" in piece)));
  return nested(pieces);
}

/** Where the next character is that may mean something. @param {string} text @param {number} at */
function next(text, at) {
  SPECIAL.lastIndex = at;
  return SPECIAL.exec(text)?.index ?? text.length;
}

/** @param {RegExp} pattern a sticky one @param {string} text @param {number} at */
function match(pattern, text, at) {
  pattern.lastIndex = at;
  return pattern.exec(text);
}

/** A link or an image's words; null if the address is none to follow. @param {string} label @param {boolean} image @param {RegExpExecArray} found */
function bracketed(label, image, found) {
  const address = found[1].replace(/^<|>$/g, "").replaceAll("&amp;", "&");
  const title = found[2]?.slice(1, -1);
  // Nothing is fetched: an image's address would tell its owner that, and what, somebody reads.
  if (image) return { tag: "span", attributes: { class: "image" }, children: [[label, title, `(${found[1]})`].filter(Boolean).join(" ")] };
  const safe = safeAddress(address);
  return safe && link(safe, inline(label, false), title);
}

/** @param {string} address */
function withoutTail(address) {
  for (;;) {
    const last = address.at(-1) ?? "";
    const unbalanced = last === ")" && address.split(")").length > address.split("(").length;
    if (!unbalanced && !".,;:!?*_~]|".includes(last)) return address;
    address = address.slice(0, -1);
  }
}

/** Each run of backticks: its length, and where the one begins that closes it, or -1. @param {string} text @returns {Map<number, [number, number]>} */
function tickRuns(text) {
  /** @type {Map<number, [number, number]>} */
  const runs = new Map();
  /** @type {Map<number, number>} */
  const later = new Map();
  for (const found of [...text.matchAll(/`+/g)].reverse()) {
    const length = found[0].length;
    runs.set(found.index, [length, later.get(length) ?? -1]);
    later.set(length, found.index);
  }
  return runs;
}

/** @param {string} code */
const trimmedCode = (code) => (code.startsWith(" ") && code.endsWith(" ") && code.trim() ? code.slice(1, -1) : code);

/** A run's rights, by CommonMark's rules of flanking. @param {string} text @param {number} at @param {number} end @returns {Run} */
function run(text, at, end) {
  const character = text[at];
  const before = text[at - 1] ?? " ";
  const after = text[end] ?? " ";
  const [spaceBefore, spaceAfter] = [/\s/.test(before), /\s/.test(after)];
  const [markBefore, markAfter] = [/[\p{P}\p{S}]/u.test(before), /[\p{P}\p{S}]/u.test(after)];
  const left = !spaceAfter && (!markAfter || spaceBefore || markBefore);
  const right = !spaceBefore && (!markBefore || spaceAfter || markAfter);
  const word = character === "_";
  const count = end - at;
  const usable = character !== "~" || count === 2;
  const opens = usable && left && (!word || !right || markBefore);
  const closes = usable && right && (!word || !left || markAfter);
  return { character, count, original: count, opens, closes, begin: [], end: [] };
}

/** Match what opens with what closes, as CommonMark does it. @param {Run[]} runs */
function pair(runs) {
  /** @type {Run[]} */
  let stack = [];
  for (const closer of runs) {
    while (closer.closes && closer.count > 0) {
      const found = lastOpener(stack, closer);
      if (found < 0 || stack[found].begin.length >= MAX_OPEN) break;
      const opener = stack[found];
      const taken = opener.character === "~" || (opener.count >= 2 && closer.count >= 2) ? 2 : 1;
      const tag = opener.character === "~" ? "del" : taken === 2 ? "strong" : "em";
      opener.count -= taken;
      closer.count -= taken;
      opener.begin.unshift(tag);
      closer.end.push(tag);
      stack = stack.slice(0, opener.count > 0 ? found + 1 : found);
    }
    if (closer.opens && closer.count > 0) stack.push(closer);
    if (stack.length > MAX_OPEN) stack.shift();
  }
}

/** @param {Run[]} stack @param {Run} closer */
function lastOpener(stack, closer) {
  for (let at = stack.length - 1; at >= 0; at--) {
    const opener = stack[at];
    const bothWays = opener.closes || closer.opens;
    const three = bothWays && (opener.original + closer.original) % 3 === 0 && (opener.original % 3 !== 0 || closer.original % 3 !== 0);
    if (opener.character === closer.character && !three) return at;
  }
  return -1;
}

/** The pieces with each run's tags as elements around what is between. @param {(Piece | Run)[]} pieces @returns {Piece[]} */
function nested(pieces) {
  /** @type {Piece[]} */
  const top = [];
  const levels = [top];
  for (const piece of pieces) {
    if (typeof piece === "string" || "tag" in piece) {
      add(/** @type {Piece[]} */ (levels.at(-1)), piece);
      continue;
    }
    for (const _ of piece.end) levels.pop();
    add(/** @type {Piece[]} */ (levels.at(-1)), piece.character.repeat(piece.count));
    for (const tag of piece.begin) {
      /** @type {Shape} */
      const element = { tag, children: [] };
      /** @type {Piece[]} */ (levels.at(-1)).push(element);
      levels.push(element.children);
    }
  }
  return top;
}

/** Texts side by side become one. @param {Piece[]} children @param {Piece} piece */
function add(children, piece) {
  const last = children.length - 1;
  if (piece === "") return;
  if (typeof piece === "string" && typeof children[last] === "string") children[last] += piece;
  else children.push(piece);
}
