// A list whose elements are kept while what they show changes. Knows keys and order. Does not know what a row is.

/** @typedef {{ element: HTMLElement, dispose?: () => void }} Row */

/**
 * Rows in an element, by key. `make` makes one when its item is first seen; its owner updates it.
 * @template Item
 * @template {Row} Kept
 * @param {HTMLElement} place
 * @param {(item: Item) => Kept} make
 */
export function createRows(place, make) {
  /** @type {Map<string, Kept>} */
  const rows = new Map();

  /** @param {Node | null} element whether the focus is in it */
  const focused = (element) => {
    const root = place.getRootNode();
    return (root instanceof ShadowRoot || root instanceof Document) && root.activeElement !== null && !!element?.contains(root.activeElement);
  };

  return {
    /** @param {string} key */
    get: (key) => rows.get(key),
    /**
     * Show these, in this order. Elements stay where they are if they can; the focus of one that goes is handed on.
     * @param {[string, Item][]} items
     * @param {(row: Kept, item: Item) => void} update
     */
    show(items, update) {
      const wanted = new Set(items.map(([key]) => key));
      for (const [key, row] of rows) {
        if (wanted.has(key)) continue;
        if (focused(row.element)) handOn(row.element);
        row.dispose?.();
        row.element.remove();
        rows.delete(key);
      }
      /** @type {Element | null} */
      let at = place.firstElementChild;
      for (const [key, item] of items) {
        let row = rows.get(key);
        if (!row) rows.set(key, (row = make(item)));
        update(row, item);
        if (row.element === at) at = at.nextElementSibling;
        else move(row.element, at);
      }
    },
  };

  /** @param {HTMLElement} element @param {Element | null} before */
  function move(element, before) {
    // What is moved loses the focus: it gets it back.
    const held = focused(element) ? /** @type {ShadowRoot} */ (place.getRootNode()).activeElement : null;
    place.insertBefore(element, before);
    if (held instanceof HTMLElement) held.focus({ preventScroll: true });
  }

  /** @param {HTMLElement} element */
  function handOn(element) {
    const next = element.nextElementSibling ?? element.previousElementSibling;
    const heir = next?.querySelector("button") ?? place;
    if (heir === place) place.tabIndex = -1;
    /** @type {HTMLElement} */ (heir).focus();
  }
}
