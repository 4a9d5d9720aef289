// Keeps the end of what grows in sight, while the reader is at the end. Knows scrolling. Does not know what grows.

// Pixels from the end that are still the end.
const NEAR = 60;

/** Follow the growth of an element. @param {HTMLElement} grows */
export function follow(grows) {
  let following = true;
  let tall = 0;

  const looked = () => {
    const view = scrollerOf(grows);
    if (view && grows.checkVisibility()) following = view.scrollHeight - view.scrollTop - view.clientHeight < NEAR;
  };
  const toEnd = () => {
    const view = scrollerOf(grows);
    if (view) view.scrollTop = view.scrollHeight;
  };
  const observer = new ResizeObserver(() => {
    const now = grows.offsetHeight;
    if (following && now > tall) toEnd();
    tall = now;
  });
  observer.observe(grows);
  // Scrolling does not bubble, but it can be caught on its way down; into a shadow root it is caught from its inside.
  const places = [document, grows.getRootNode()];
  for (const place of places) place.addEventListener("scroll", looked, { capture: true, passive: true });

  return {
    /** Go to the end, and stay there. */
    now() {
      following = true;
      toEnd();
    },
    dispose() {
      observer.disconnect();
      for (const place of places) place.removeEventListener("scroll", looked, { capture: true });
    },
  };
}

/** The nearest element around it that scrolls. @param {Element} element @returns {Element | null} */
function scrollerOf(element) {
  /** @type {Element | null} */
  let around = element;
  while (around) {
    if (/auto|scroll/.test(getComputedStyle(around).overflowY) && around.scrollHeight > around.clientHeight) return around;
    const root = around.getRootNode();
    around = around.assignedSlot ?? around.parentElement ?? (root instanceof ShadowRoot ? root.host : null);
  }
  return document.scrollingElement;
}
