// Numbers as people read them, in the words of the command line. Knows nothing else.

const UNITS = ["B", "kB", "MB", "GB", "TB"];
const SPANS = /** @type {[string, number][]} */ ([["day", 86400], ["hour", 3600], ["minute", 60]]);

/** A number of bytes in decimal units, three digits: `98.4 MB`. @param {number | null | undefined} count */
export function bytes(count) {
  if (count === null || count === undefined || !Number.isFinite(count)) return "–";
  let value = count;
  let unit = 0;
  while (value >= 999.5 && unit < UNITS.length - 1) {
    value /= 1000;
    unit += 1;
  }
  return `${value.toFixed(unit === 0 || value >= 99.95 ? 0 : 1)} ${UNITS[unit]}`;
}

/** A time in its largest unit: `9 minutes`. @param {number | null | undefined} seconds */
export function duration(seconds) {
  if (seconds === null || seconds === undefined || !Number.isFinite(seconds)) return "–";
  for (const [unit, length] of SPANS) {
    if (seconds >= length) return plural(Math.floor(seconds / length), unit);
  }
  return plural(Math.max(Math.round(seconds), 0), "second");
}

/** How fast bytes come: `12.3 MB/s`. @param {number} perSecond */
export function rate(perSecond) {
  return `${bytes(perSecond)}/s`;
}

/** A part of a whole: `42 %`; empty where the whole is not known. @param {number | null | undefined} part @param {number | null | undefined} whole */
export function percent(part, whole) {
  if (!whole || part === null || part === undefined) return "";
  return `${Math.min(100, Math.floor((100 * part) / whole))} %`;
}

/** A number with its thousands apart: `12,345`. @param {number | null | undefined} number */
export function count(number) {
  if (number === null || number === undefined) return "–";
  return Math.round(number).toString().replace(/\B(?=(\d{3})+$)/g, ",");
}

/** A number and its noun: `1 model`, `2 models`. @param {number} number @param {string} noun */
export function plural(number, noun) {
  return `${count(number)} ${noun}${number === 1 ? "" : "s"}`;
}
