/** The controls of the viewer, its legend, and the opening of cases. */
(() => {
  "use strict";
  const page = window.umambaPage;
  const { viewer, make, shown, slices } = page;
  if (!viewer) return;
  const browser = page.data.browser;
  const mount = document.getElementById("case-browser");
  const MOST_LEGEND = 24; // labels named in the legend
  const CT = [["soft tissue", 40, 400], ["lung", -600, 1500], ["bone", 400, 1800], ["brain", 40, 80], ["liver", 60, 160]];
  const KEYS = "Keys in the picture: arrow up and down, or the mouse wheel: slice (page up and down: 10). 0: reference, 1 to 9: models, arrow left and right: the one before or after. d: differences. e: where the model errs most. f: filled or outlines. o: without segmentation. s: side by side. v: other plane. + and -: zoom, Shift with arrows or drag: move. w: next window, right button and drag: window and level. r: reset. n, p: next and previous case. x: flag.";

  const select = (id, title, change) => {
    const list = make("select", { id, on: { change: () => change(list.value) } });
    return { list, label: make("label", {}, `${title} `, list) };
  };
  const fill = ({ list, label }, options, value) => {
    const texts = JSON.stringify(options);
    if (list.dataset.options !== texts) {
      list.dataset.options = texts;
      list.replaceChildren(...options.map(([key, text]) => make("option", { value: key }, text)));
    }
    list.value = String(value);
    label.hidden = options.length < 2;
  };
  const check = (id, title, key) => {
    const box = make("input", { id, type: "checkbox", on: { change: () => viewer.change({ [key]: box.checked }) } });
    return { box, label: make("label", {}, box, ` ${title}`) };
  };
  const number = (id, title) => {
    const input = make("input", { id, type: "number", step: "any", class: "viewer-number", on: { change: () => setWindow(Number(level.input.value), Number(width.input.value)) } });
    return { input, label: make("label", {}, `${title} `, input) };
  };

  const source = select("viewer-source", "Show", (value) => viewer.change({ source: Number(value) }));
  const seed = select("viewer-seed", "Seed", (value) => viewer.change({ seed: value }));
  const label = select("viewer-label", "Label", (value) => chooseLabel(value));
  const mode = select("viewer-mode", "Mode", (value) => viewer.change({ mode: value }));
  const style = select("viewer-style", "Drawn as", (value) => viewer.change({ style: value }));
  const opacity = make("input", { id: "viewer-opacity", type: "range", min: "0.1", max: "1", step: "0.1", on: { input: () => viewer.change({ opacity: Number(opacity.value) }) } });
  const opacityLabel = make("label", {}, "Opacity ", opacity);
  const outline = check("viewer-outline", "outline of the reference", "outline");
  const overlay = check("viewer-overlay", "segmentation", "overlay");
  const layout = select("viewer-layout", "Layout", (value) => viewer.change({ layout: value }));
  const plane = select("viewer-plane", "Plane", (value) => viewer.change({ axis: Number(value) }));
  const channel = select("viewer-channel", "Channel", (value) => viewer.change({ channel: Number(value) }));
  const preset = select("viewer-window", "Window", (value) => usePreset(value));
  const level = number("viewer-level", "Level");
  const width = number("viewer-width", "Width");
  const reset = make("button", { type: "button", id: "viewer-reset", on: { click: () => viewer.reset() } }, "Reset view");
  const errors = make("button", { type: "button", id: "viewer-errors", on: { click: () => viewer.toErrors() } }, "Largest error");
  const sliders = make("div", { class: "controls viewer-sliders" });
  const legend = make("ul", { class: "viewer-legend", "aria-label": "Colours" });
  const title = make("h3", { class: "viewer-title" }, "No case is open");
  const notes = make("ul", { class: "notes viewer-notes" });
  const previous = make("button", { type: "button", id: "viewer-previous", on: { click: () => page.openNext(-1) } }, "Previous case");
  const next = make("button", { type: "button", id: "viewer-next", on: { click: () => page.openNext(1) } }, "Next case");
  const flagging = make("span", { class: "viewer-flag" });
  const body = make("div", { class: "viewer-body", hidden: true },
    make("div", { class: "controls" }, source.label, seed.label, mode.label, label.label, style.label, opacityLabel, outline.label, overlay.label, errors),
    make("div", { class: "controls" }, layout.label, plane.label, channel.label, preset.label, level.label, width.label, reset),
    viewer.stage, sliders, legend, viewer.pointed, viewer.announced,
    make("p", { class: "muted viewer-keys", id: "viewer-keys" }, KEYS));
  const whole = make("div", { class: "viewer", hidden: true },
    make("div", { class: "controls viewer-head" }, title, previous, next, flagging),
    notes, body);
  mount.append(whole);
  viewer.flagging = flagging;

  const chooseLabel = (value) => {
    const scored = page.data.scores?.labels.includes(value) ?? true;
    if (scored) page.set("label", value);
    viewer.change({ ownLabel: scored ? null : value });
  };
  const setWindow = (centre, span) => {
    if (!Number.isFinite(centre) || !(span > 0)) return viewer.draw();
    const windows = [...viewer.windows];
    windows[viewer.channel] = [centre - span / 2, centre + span / 2];
    return viewer.change({ windows });
  };
  const presets = () => {
    const its = viewer.volume.channels[viewer.channel];
    if (!its || its.colours) return [];
    const middle = ([low, high]) => [(low + high) / 2, Math.max(high - low, 1e-6)];
    const found = [["automatic", ...middle(its.shown)], ["whole range", ...middle(its.range)]];
    return its.range[0] < -200 ? [...found, ...CT] : found; // Hounsfield units begin at -1024
  };
  const usePreset = (name) => {
    const found = presets().find(([key]) => key === name);
    if (found) setWindow(found[1], found[2]);
  };
  const currentPreset = () => {
    const window = viewer.windows[viewer.channel];
    const near = (a, b) => Math.abs(a - b) <= 1e-6 * Math.max(Math.abs(a), Math.abs(b), 1);
    return presets().find(([, centre, span]) => near(centre - span / 2, window[0]) && near(centre + span / 2, window[1]))?.[0] ?? "own";
  };
  viewer.cycleWindow = () => {
    const names = presets().map(([name]) => name);
    if (names.length) usePreset(names[(names.indexOf(currentPreset()) + 1) % names.length]);
  };

  const updateWindow = () => {
    const window = viewer.windows[viewer.channel];
    const has = Boolean(window);
    for (const its of [level, width]) its.label.hidden = !has;
    preset.label.hidden = !has;
    if (!has) return;
    fill(preset, [...presets().map(([name]) => [name, name]), ["own", "own"]], currentPreset());
    const digits = (value) => String(Number(value.toPrecision(5)));
    if (document.activeElement !== level.input) level.input.value = digits((window[0] + window[1]) / 2);
    if (document.activeElement !== width.input) width.input.value = digits(window[1] - window[0]);
  };

  const updateSliders = () => {
    const planes = [...new Map(viewer.panes.map((pane) => [pane.plane.axis, pane.plane])).values()].filter((its) => its.depth > 1);
    if (sliders.dataset.axes !== planes.map((its) => `${its.axis}:${its.depth}`).join()) {
      sliders.dataset.axes = planes.map((its) => `${its.axis}:${its.depth}`).join();
      sliders.replaceChildren(...planes.map((its) => {
        const range = make("input", { type: "range", id: `viewer-slice-${its.axis}`, min: "1", max: its.depth, step: "1" });
        range.addEventListener("input", () => {
          const at = [...viewer.cursor];
          at[its.axis] = Number(range.value) - 1;
          viewer.axis = its.axis;
          viewer.moveCursor(at);
        });
        return make("label", { "data-axis": its.axis }, `${its.name} `, range, make("span", { class: "viewer-slice" }));
      }));
    }
    for (const place of sliders.children) {
      const axis = Number(place.dataset.axis);
      place.querySelector("input").value = String(viewer.cursor[axis] + 1);
      place.querySelector("span").textContent = ` ${viewer.cursor[axis] + 1} of ${viewer.volume.shape[axis]}`;
    }
  };

  const updateLegend = () => {
    const entry = (colour, text) => {
      const swatch = make("span", { class: "viewer-swatch" });
      swatch.style.background = `rgb(${colour.join(" ")})`;
      return make("li", {}, swatch, text);
    };
    const entries = [];
    if (viewer.overlay) {
      const wanted = viewer.labelValues();
      const values = [...new Set(browser.labels.flatMap(([, its]) => its))].filter((value) => !wanted || wanted.includes(value));
      const models = viewer.layout === "side" || viewer.source > 0;
      if (viewer.outline && models) entries.push(entry(slices.REFERENCE, "reference, outlined"));
      if (viewer.mode === "difference" && models) {
        const kinds = slices.DIFFERENCES.slice(1, wanted ? 4 : 5);
        entries.push(...kinds.map((kind) => entry(kind.colour, kind.name)));
      } else {
        entries.push(...values.slice(0, MOST_LEGEND).map((value) => entry(slices.colourOf(value), viewer.nameOf(value))));
        if (values.length > MOST_LEGEND) entries.push(make("li", {}, `and ${values.length - MOST_LEGEND} more: point at them`));
      }
    }
    legend.replaceChildren(...entries);
  };

  viewer.drawn = () => {
    const { volume } = viewer;
    const sources = viewer.sources();
    if (viewer.source >= sources.length) viewer.source = sources.length - 1;
    fill(source, sources.map((its, i) => [i, `${i}: ${its.title}`]), viewer.source);
    const seeds = [...new Set(volume.masks.map((mask) => String(mask.seed)))].map((its) => [its, its === "null" ? "none" : its]);
    fill(seed, seeds, viewer.seed ?? seeds[0]?.[0]);
    fill(mode, [["segmentation", "segmentation"], ["difference", "difference"]], viewer.mode);
    fill(label, [["", "all"], ...browser.labels.map(([name]) => [name, shown(name)])], viewer.label());
    label.label.hidden = browser.labels.length < 2;
    fill(style, [["contour", "outlines"], ["fill", "areas"]], viewer.style);
    opacityLabel.hidden = viewer.style !== "fill";
    opacity.value = String(viewer.opacity);
    outline.box.checked = viewer.outline;
    overlay.box.checked = viewer.overlay;
    const planes = viewer.planes();
    const layouts = [["planes", "three planes"], ["one", "one plane"], ["side", "side by side"]];
    fill(layout, planes.length > 1 ? layouts : layouts.slice(1), planes.length < 2 && viewer.layout === "planes" ? "one" : viewer.layout);
    fill(plane, planes.map((its) => [its.axis, its.name]), viewer.axis);
    fill(channel, volume.channels.map((its, i) => [i, shown(its.name)]), viewer.channel);
    updateWindow();
    updateSliders();
    updateLegend();
  };

  /** Open a case, and show it when it is decoded, unless another one was opened meanwhile. */
  const open = async (name) => {
    title.textContent = shown(name);
    whole.hidden = false;
    body.setAttribute("aria-busy", "true");
    const volume = await page.loadCase(name);
    if (page.get("opened") !== name) return;
    body.removeAttribute("aria-busy");
    const said = volume.problem ? [volume.problem] : [...browser.notes, ...volume.notes];
    notes.replaceChildren(...said.map((text) => make("li", {}, shown(text))));
    body.hidden = Boolean(volume.problem);
    if (volume.problem) viewer.volume = null;
    else {
      const first = viewer.volume === null;
      if (first) viewer.source = Math.min(1, volume.masks.length);
      viewer.show(volume);
      if (!viewer.planes().some((its) => its.axis === viewer.axis)) viewer.axis = viewer.planes()[0].axis;
    }
    title.dataset.shown = name; // for tests
    const top = whole.getBoundingClientRect().top;
    if (top < 0 || top > innerHeight / 5) whole.scrollIntoView({ block: "start" });
    if (!whole.contains(document.activeElement)) viewer.stage.focus({ preventScroll: true });
  };
  page.on("opened", (name) => {
    if (name !== null) open(name);
  });
})();
