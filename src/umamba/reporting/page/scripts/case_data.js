/**
 * The data of cases: decoded when a case is opened, from the page itself or from a file beside it.
 *
 * `umambaPage.loadCase(name)` promises `{name, shape, spacing, letters, ignore, notes, channels,
 * reference, masks}` with voxels as typed arrays, (z, y, x), or `{name, problem}`.
 */
(() => {
  "use strict";
  const page = window.umambaPage;
  const browser = page.data.browser;
  if (!browser) return;
  const MOST_KEPT = 3; // decoded cases in memory
  const KINDS = { u1: Uint8Array, u2: Uint16Array, i4: Int32Array };
  const numbers = new Map(browser.cases.map((name, i) => [name, i]));
  const kept = new Map();
  const waiting = new Map();

  // What the files beside the page call.
  window.umambaCase = (number, digest, text) => waiting.get(number)?.(digest === page.digest ? text : null);

  const fromFile = (number) =>
    new Promise((resolve, reject) => {
      const src = `${page.files}/case_${number}.js`;
      const script = page.make("script", { src });
      const end = (settle) => (value) => {
        waiting.delete(number);
        script.remove();
        settle(value);
      };
      const other = new Error(`The folder ${page.folder} belongs to another report: write this report again.`);
      waiting.set(number, (text) => (text === null ? end(reject)(other) : end(resolve)(text)));
      const gone = new Error(`Its data is missing: keep the folder ${page.folder} next to this page.`);
      script.addEventListener("error", () => end(reject)(gone));
      document.body.append(script);
    });

  const inflated = async (text) => {
    const packed = atob(text.trim());
    const bytes = new Uint8Array(packed.length);
    for (let i = 0; i < packed.length; i += 1) bytes[i] = packed.charCodeAt(i);
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
    return new Response(stream).arrayBuffer();
  };

  const decoded = (name, buffer) => {
    const start = new DataView(buffer).getUint32(0, true) + 4;
    const header = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 4, start - 4)));
    if (header.problem) return { name, problem: header.problem };
    const size = header.shape.reduce((a, b) => a * b, 1);
    const arrays = header.arrays.map(([kind, offset], i) => new KINDS[kind](buffer, start + offset, size * (header.channels[i]?.colours ? 3 : 1)));
    const n = header.channels.length;
    return {
      ...header,
      name,
      channels: header.channels.map((channel, i) => ({ ...channel, values: arrays[i] })),
      reference: arrays[n],
      masks: header.masks.map((mask, i) => ({ ...mask, values: arrays[n + 1 + i] })),
    };
  };

  const load = async (name) => {
    const number = numbers.get(name);
    if (number === undefined) {
      return { name, problem: browser.problem ?? "There is no image of this case." };
    }
    try {
      const block = document.getElementById(`case-${number}`);
      const text = block ? block.textContent : await fromFile(number);
      return decoded(name, await inflated(text));
    } catch (error) {
      return { name, problem: `The case cannot be read: ${error.message}` };
    }
  };

  page.loadCase = (name) => {
    const found = kept.get(name) ?? load(name);
    kept.delete(name);
    kept.set(name, found); // the last opened are kept
    if (kept.size > MOST_KEPT) kept.delete(kept.keys().next().value);
    return found;
  };
})();
