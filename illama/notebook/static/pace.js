// How fast something comes, and how long the rest will take, from what was seen of it. Knows no pulls, no clocks.

/** @typedef {{ perSecond: number, left: number | null }} Pace bytes a second, and seconds for the rest where the whole is known */

// Milliseconds that count: long enough to be calm, short enough to notice a line that has slowed down.
const WINDOW = 12000;
// Below this there is too little to say anything.
const LEAST = 900;

/** The pace of one thing; a new `key` (a new phase, another file) begins anew. */
export function createPace() {
  let now = "";
  /** @type {{ t: number, done: number }[]} */
  let seen = [];
  return {
    /**
     * See how much is done. Returns the pace, or null while too little was seen.
     * @param {string} key @param {number | null | undefined} done @param {number | null | undefined} total @param {number} t in milliseconds
     * @returns {Pace | null}
     */
    see(key, done, total, t) {
      if (done === null || done === undefined) return null;
      const last = seen.at(-1);
      if (key !== now || (last && done < last.done)) {
        now = key;
        seen = [];
      }
      if (!last || seen.length === 0 || t > last.t) seen.push({ t, done });
      while (seen.length > 2 && seen[1].t < t - WINDOW) seen.shift();
      const first = seen[0];
      const time = t - first.t;
      if (time < LEAST || done === first.done) return null;
      const perSecond = ((done - first.done) * 1000) / time;
      return { perSecond, left: total && total >= done ? (total - done) / perSecond : null };
    },
  };
}
