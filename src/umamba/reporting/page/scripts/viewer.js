/**
 * The picture of a case: panes with slices, which share a cursor, zoom and window.
 *
 * `umambaPage.viewer` holds the state; `viewer.change({...})` changes it and draws anew. Sources
 * are what can be laid over the image: the reference (0), then the models.
 */
(() => {
  "use strict";
  const page = window.umambaPage;
  if (!document.getElementById("case-browser") || !page.data.browser) return;
  const { make, shown, slices } = page;
  const browser = page.data.browser;
  const LINE = 1.4; // CSS pixels
  const REFERENCE_LINE = 3; // wider, so that it is seen below that of a model
  const TALLEST = 0.72; // height of a pane over that of the window
  const MOST_ZOOM = 40;

  const stage = make("div", { class: "viewer-stage", tabindex: "0", role: "group", "aria-label": "Slices of the case", "aria-describedby": "viewer-keys" });
  const pointed = make("p", { class: "viewer-pointed" });
  const announced = make("p", { class: "viewer-announced", role: "status", "aria-live": "polite" });
  const off = document.createElement("canvas");
  let frame = null;
  let grey = null;

  const viewer = {
    volume: null, cursor: [0, 0, 0], centre: [0, 0, 0], zoom: 1, source: 0, seed: null, axis: 0,
    layout: "planes", mode: "segmentation", style: "contour", opacity: 0.4, outline: true,
    overlay: true, ownLabel: null, channel: 0, windows: [], panes: [], stage, pointed, announced,
  };
  page.viewer = viewer;

  // That of the page, or one without scores, such as all labels where they have no mean.
  const label = () => viewer.ownLabel ?? page.get("label") ?? "";
  const labelValues = () => browser.labels.find(([name]) => name === label())?.[1] ?? null;
  viewer.label = label;
  viewer.labelValues = labelValues;

  /** Return the names of a value of a mask. */
  const nameOf = (value) => {
    if (value === 0) return "background";
    if (value === viewer.volume.ignore) return "left out";
    const names = browser.labels.filter(([, values]) => values.includes(value)).map(([name]) => shown(name));
    return names.join(", ") || `value ${value}`;
  };
  viewer.nameOf = nameOf;

  /** Return the reference and each model's segmentation, of the chosen seed if there is one. */
  viewer.sources = () => {
    const { volume, seed } = viewer;
    const models = [...new Set(volume.masks.map((mask) => mask.model))];
    const chosen = models.map((model) => {
      const own = volume.masks.filter((mask) => mask.model === model);
      return own.find((mask) => String(mask.seed) === seed) ?? own[0];
    });
    const titled = chosen.map((mask) => ({ title: shown(mask.model) + (mask.seed === null ? "" : `, seed ${mask.seed}`), values: mask.values, dice: mask.dice }));
    return [{ title: "reference", values: volume.reference, dice: null }, ...titled];
  };

  viewer.planes = () => {
    const planes = [0, 1, 2].map((axis) => slices.planeOf(viewer.volume, axis));
    const filled = planes.filter((plane) => plane.width > 1 && plane.height > 1);
    return filled.length ? filled : planes.slice(0, 1);
  };

  const diceText = (source) => {
    if (!source.dice) return "";
    const key = label() in source.dice ? label() : "";
    const dice = source.dice[key];
    const of = key === "" ? "" : ` of ${shown(key)}`;
    if (dice === undefined) return "";
    return dice === null ? `Dice${of} undefined` : `Dice${of} ${dice.toFixed(3)}`;
  };

  const described = (pane) => {
    const { plane, source } = pane;
    const at = plane.depth > 1 ? ` slice ${viewer.cursor[plane.axis] + 1} of ${plane.depth}` : "";
    const what = viewer.mode === "difference" && source.dice ? `differences of ${source.title} from the reference` : source.title;
    return [`${shown(viewer.volume.name)}, ${plane.name}${at}`, viewer.overlay ? what : "image only", diceText(source)].filter(Boolean).join(", ");
  };

  /** Place a slice in a pane: the upper left corner and the size of a voxel, in pixels. */
  const placed = (pane) => {
    const { plane, canvas } = pane;
    const fit = Math.min(canvas.width / (plane.width * plane.columnSize), canvas.height / (plane.height * plane.rowSize));
    const [sx, sy] = [fit * viewer.zoom * plane.columnSize, fit * viewer.zoom * plane.rowSize];
    const row = plane.flipped ? plane.height - viewer.centre[plane.rows] : viewer.centre[plane.rows];
    return { sx, sy, x: canvas.width / 2 - viewer.centre[plane.columns] * sx, y: canvas.height / 2 - row * sy };
  };

  /** Return the classes that a pane shows over the image, and their colours. */
  const overlaid = (pane) => {
    const { plane, source } = pane;
    const { volume } = viewer;
    const slice = viewer.cursor[plane.axis];
    const own = slices.cut(volume, plane, slice, source.values);
    if (viewer.mode !== "difference" || !source.dice) {
      return [slices.only(own, labelValues(), volume.ignore), slices.colourOf];
    }
    const reference = slices.cut(volume, plane, slice, volume.reference);
    return [slices.difference(own, reference, labelValues(), volume.ignore), (value) => slices.DIFFERENCES[value].colour];
  };

  const greyPixels = () => {
    const channel = viewer.volume.channels[viewer.channel];
    if (!channel || channel.colours) return null;
    const [low, high] = viewer.windows[viewer.channel];
    if (grey?.channel !== channel || grey.low !== low || grey.high !== high) {
      grey = { channel, low, high, pixels: slices.greyPixels(channel, low, high) };
    }
    return grey.pixels;
  };

  /** Return the image of a plane as pixels, one for each voxel; panes of one plane share it. */
  const imageOf = (plane, images) => {
    if (!images.has(plane.axis)) {
      const channel = viewer.volume.channels[viewer.channel];
      const data = new ImageData(plane.width, plane.height);
      const slice = channel ? slices.cut(viewer.volume, plane, viewer.cursor[plane.axis], channel.values, channel.colours ? 3 : 1) : null;
      slices.paintImage(new Uint32Array(data.data.buffer), slice, channel, greyPixels());
      images.set(plane.axis, data);
    }
    return images.get(plane.axis);
  };

  /** Return an image with filled segmentations over it. */
  const filled = (image, classes, colour) => {
    const data = new ImageData(image.data.slice(), image.width, image.height);
    slices.paintFill(data.data, classes, colour, viewer.opacity);
    return data;
  };

  const outlineReference = (pane, context, view, width) => {
    const { volume } = viewer;
    const reference = slices.cut(volume, pane.plane, viewer.cursor[pane.plane.axis], volume.reference);
    const kept = slices.only(reference, labelValues(), volume.ignore);
    slices.strokeOutlines(context, kept, pane.plane, view, () => slices.REFERENCE, width);
  };

  const write = (context, text, x, y, ratio, align = "center") => {
    context.font = `600 ${12 * ratio}px system-ui, sans-serif`;
    context.textAlign = align;
    context.textBaseline = "middle";
    context.lineWidth = 3 * ratio;
    context.strokeStyle = "#000";
    context.fillStyle = "#fff";
    context.strokeText(text, x, y);
    context.fillText(text, x, y);
  };

  const drawMarks = (pane, context, view, ratio) => {
    const { plane, canvas } = pane;
    const [w, h] = [canvas.width, canvas.height];
    if (plane.ends) {
      write(context, plane.ends.left, 10 * ratio, h / 2, ratio);
      write(context, plane.ends.right, w - 10 * ratio, h / 2, ratio);
      write(context, plane.ends.top, w / 2, 11 * ratio, ratio);
      write(context, plane.ends.bottom, w / 2, h - 11 * ratio, ratio);
    }
    const perUnit = view.sx / plane.columnSize;
    const most = (0.3 * w) / perUnit;
    const power = 10 ** Math.floor(Math.log10(most));
    const length = [5, 2, 1].find((n) => n * power <= most) * power;
    const [x, y] = [12 * ratio, h - 14 * ratio];
    for (const [colour, width] of [["#000", 5], ["#fff", 2.5]]) {
      context.strokeStyle = colour;
      context.lineWidth = width * ratio;
      context.beginPath();
      context.moveTo(x, y);
      context.lineTo(x + length * perUnit, y);
      context.stroke();
    }
    write(context, `${Number(length.toPrecision(2))} ${browser.unit}`, x, y - 11 * ratio, ratio, "left");
  };

  const drawCursor = (pane, context, view, ratio) => {
    const { plane, canvas } = pane;
    const row = viewer.cursor[plane.rows];
    const x = view.x + (viewer.cursor[plane.columns] + 0.5) * view.sx;
    const y = view.y + ((plane.flipped ? plane.height - 1 - row : row) + 0.5) * view.sy;
    const gap = 8 * ratio;
    context.strokeStyle = "rgb(255 255 255 / 65%)";
    context.lineWidth = ratio;
    context.beginPath();
    for (const [ax, ay, bx, by] of [[0, y, x - gap, y], [x + gap, y, canvas.width, y], [x, 0, x, y - gap], [x, y + gap, x, canvas.height]]) {
      context.moveTo(ax, ay);
      context.lineTo(bx, by);
    }
    context.stroke();
  };

  const drawPane = (pane, room, images) => {
    const { canvas, plane } = pane;
    const ratio = window.devicePixelRatio || 1;
    const width = Math.max(Math.floor(room * ratio), 1);
    const tall = (plane.height * plane.rowSize) / (plane.width * plane.columnSize);
    const height = Math.round(Math.min(width * Math.min(Math.max(tall, 0.5), 1.25), TALLEST * innerHeight * ratio));
    if (canvas.width !== width || canvas.height !== height) [canvas.width, canvas.height] = [width, height];
    const context = canvas.getContext("2d");
    const overlay = viewer.overlay ? overlaid(pane) : null;
    const fill = overlay && viewer.style === "fill" ? overlay : null;
    const view = placed(pane);
    if (off.width !== plane.width || off.height !== plane.height) [off.width, off.height] = [plane.width, plane.height];
    const image = imageOf(plane, images);
    off.getContext("2d").putImageData(fill ? filled(image, ...fill) : image, 0, 0);
    context.fillStyle = "#000";
    context.fillRect(0, 0, width, height);
    context.imageSmoothingEnabled = false;
    context.drawImage(off, view.x, view.y, plane.width * view.sx, plane.height * view.sy);
    if (overlay && viewer.outline && pane.source.dice) outlineReference(pane, context, view, REFERENCE_LINE * ratio);
    if (overlay && !fill) slices.strokeOutlines(context, overlay[0], plane, view, overlay[1], LINE * ratio);
    if (viewer.panes.length > 1) drawCursor(pane, context, view, ratio);
    drawMarks(pane, context, view, ratio);
    const text = described(pane);
    canvas.setAttribute("aria-label", text);
    pane.caption.textContent = [pane.source.title, diceText(pane.source)].filter(Boolean).join(": ");
  };

  const wanted = () => {
    const sources = viewer.sources();
    const planes = viewer.planes();
    const one = planes.find((plane) => plane.axis === viewer.axis) ?? planes[0];
    const source = sources[Math.min(viewer.source, sources.length - 1)];
    if (viewer.layout === "side") return sources.map((its) => ({ plane: one, source: its }));
    return (viewer.layout === "one" ? [one] : planes).map((plane) => ({ plane, source }));
  };

  const newPane = () => {
    const canvas = make("canvas", { role: "img", "aria-label": "A slice" });
    const caption = make("figcaption");
    const figure = make("figure", { class: "pane" }, make("div", { class: "pane-canvas" }, canvas), caption);
    stage.append(figure);
    const pane = { canvas, caption, figure };
    viewer.connect(pane);
    return pane;
  };

  const draw = () => {
    frame = null;
    if (!viewer.volume) return;
    const panes = wanted();
    while (viewer.panes.length > panes.length) viewer.panes.pop().figure.remove();
    while (viewer.panes.length < panes.length) viewer.panes.push(newPane());
    viewer.panes.forEach((pane, i) => Object.assign(pane, panes[i]));
    const images = new Map();
    // All widths are read before anything is written, so that the page is laid out once.
    const rooms = viewer.panes.map((pane) => pane.canvas.parentElement.clientWidth);
    viewer.panes.forEach((pane, i) => drawPane(pane, rooms[i], images));
    const said = described(viewer.panes.find((pane) => pane.plane.axis === viewer.axis) ?? viewer.panes[0]);
    if (announced.textContent !== said) announced.textContent = said;
    viewer.drawn?.();
  };

  viewer.draw = () => {
    frame ??= requestAnimationFrame(draw);
  };
  viewer.redraw = draw;
  viewer.change = (changes) => {
    Object.assign(viewer, changes);
    viewer.draw();
  };
  viewer.placed = placed;

  /** Return the voxel under a pixel of a pane, or null outside of the slice. */
  viewer.voxelAt = (pane, x, y) => {
    const { plane } = pane;
    const view = placed(pane);
    const column = Math.floor((x - view.x) / view.sx);
    const row = Math.floor((y - view.y) / view.sy);
    if (column < 0 || row < 0 || column >= plane.width || row >= plane.height) return null;
    const at = [...viewer.cursor];
    at[plane.columns] = column;
    at[plane.rows] = plane.flipped ? plane.height - 1 - row : row;
    return at;
  };

  viewer.moveCursor = (at) => {
    const cursor = at.map((i, axis) => Math.min(Math.max(i, 0), viewer.volume.shape[axis] - 1));
    viewer.change({ cursor });
  };

  /** Zoom so that a place of the volume keeps its pixel. */
  viewer.zoomBy = (factor, about = viewer.cursor.map((i) => i + 0.5)) => {
    const zoom = Math.min(Math.max(viewer.zoom * factor, 0.5), MOST_ZOOM);
    const moved = viewer.centre.map((c, axis) => about[axis] + ((c - about[axis]) * viewer.zoom) / zoom);
    viewer.change({ zoom, centre: moved });
  };

  viewer.reset = () => {
    const { shape, channels } = viewer.volume;
    viewer.change({ zoom: 1, centre: shape.map((n) => n / 2), windows: channels.map((channel) => channel.shown ?? null) });
  };

  /** Show a decoded case: the slices in which the reference is largest. */
  viewer.show = (volume) => {
    const channel = Math.min(viewer.channel, Math.max(volume.channels.length - 1, 0));
    Object.assign(viewer, { volume, channel });
    const middle = volume.shape.map((n) => Math.floor(n / 2));
    const cursor = slices.fullest(volume, (i) => volume.reference[i] !== 0 && volume.reference[i] !== volume.ignore) ?? middle;
    viewer.change({ cursor });
    viewer.reset();
  };

  /** Go to the slices in which the shown model differs most from the reference. */
  viewer.toErrors = () => {
    const { reference, ignore } = viewer.volume;
    const { values } = viewer.sources()[viewer.source] ?? {};
    const wantedValues = labelValues();
    const is = (value) => (wantedValues ? wantedValues.includes(value) : value);
    const at = values && slices.fullest(viewer.volume, (i) => values[i] !== reference[i] && reference[i] !== ignore && is(values[i]) !== is(reference[i]));
    if (at) viewer.moveCursor(at);
  };

  page.on("label", () => viewer.change({ ownLabel: null }));
  addEventListener("resize", viewer.draw);
  addEventListener("beforeprint", draw);
})();
