/**
 * The state that all parts of the page share, and how they hear of its changes.
 *
 * `umambaPage.data` is what Python wrote into the page. Keys of the state: `hovered` (a case, or
 * null), `chosen` (an array of cases, or null for all), `opened` (a case, or null), `baseline`,
 * `metric`, `label`, and `theme` ("light" or "dark").
 */
(() => {
  "use strict";
  const text = document.getElementById("page-data").textContent;
  const values = new Map();
  const listeners = new Map();
  const changed = new Map();
  let frame = null;

  const same = (a, b) =>
    a === b ||
    (Array.isArray(a) && Array.isArray(b) && a.length === b.length && a.every((x, i) => x === b[i]));

  /** Tell listeners of what has changed, once for all changes since the last frame. */
  const flush = () => {
    frame = null;
    const told = [...changed];
    changed.clear();
    for (const [key, before] of told) {
      const value = values.get(key) ?? null;
      if (same(before, value)) continue;
      for (const listener of listeners.get(key) ?? []) listener(value, before);
    }
  };

  /** Show characters that are invisible, or turn the direction of text, as their codes. */
  const shown = (name) =>
    String(name).replace(
      /[\p{Cc}\p{Cf}\p{Cs}\p{Co}\p{Zl}\p{Zp}]/gu,
      (c) => `\\u${c.codePointAt(0).toString(16).padStart(4, "0")}`,
    );

  /** Make an element with attributes and children; strings become text, never markup. */
  const make = (tag, attributes = {}, ...children) => {
    const element = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) {
      if (name === "on") for (const [event, fn] of Object.entries(value)) element.addEventListener(event, fn);
      else if (value === true) element.setAttribute(name, "");
      else if (value !== false && value !== null && value !== undefined) element.setAttribute(name, value);
    }
    element.append(...children);
    return element;
  };

  window.umambaPage = {
    data: JSON.parse(text),
    files: document.documentElement.dataset.files, // address of the folder of the cases; "" if they are here
    folder: document.documentElement.dataset.folder, // its name for readers
    digest: document.documentElement.dataset.digest, // which its files repeat
    get: (key) => values.get(key) ?? null,
    set(key, value) {
      if (same(values.get(key) ?? null, value ?? null)) return;
      if (!changed.has(key)) changed.set(key, values.get(key) ?? null);
      values.set(key, value ?? null);
      frame ??= requestAnimationFrame(flush);
    },
    on(key, listener) {
      if (!listeners.has(key)) listeners.set(key, []);
      listeners.get(key).push(listener);
    },
    shown,
    make,
  };
})();
