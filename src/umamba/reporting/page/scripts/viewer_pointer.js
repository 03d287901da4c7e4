/** Pointer and keys in the panes of a case. */
(() => {
  "use strict";
  const page = window.umambaPage;
  const { viewer, shown } = page;
  if (!viewer) return;
  const FAST = 10; // slices
  const STEP = 0.08; // of the view, by which keys move it

  const pixel = (pane, event) => {
    const box = pane.canvas.getBoundingClientRect();
    return [((event.clientX - box.left) * pane.canvas.width) / box.width, ((event.clientY - box.top) * pane.canvas.height) / box.height];
  };

  const valueText = (i) => {
    const channel = viewer.volume.channels[viewer.channel];
    if (!channel) return "";
    if (channel.colours) return `colour ${[0, 1, 2].map((k) => channel.values[3 * i + k]).join(" ")}`;
    return `${shown(channel.name)} ${Number((channel.values[i] * channel.slope + channel.intercept).toPrecision(6))}`;
  };

  const tell = (pane, event) => {
    const at = viewer.voxelAt(pane, ...pixel(pane, event));
    if (!at) return;
    const [, ny, nx] = viewer.volume.shape;
    const i = (at[0] * ny + at[1]) * nx + at[2];
    const labels = viewer.sources().map((source) => `${source.title}: ${viewer.nameOf(source.values[i])}`);
    const few = viewer.layout === "side" ? labels : [labels[0], labels[viewer.source]].filter((text, k) => text && (k === 0 || viewer.source > 0));
    viewer.pointed.textContent = [`z ${at[0] + 1}, y ${at[1] + 1}, x ${at[2] + 1}`, valueText(i), ...few].filter(Boolean).join("; ");
  };

  /** Move a slice under the pointer, in pixels of its pane. */
  const pan = (pane, dx, dy) => {
    const { plane } = pane;
    const view = viewer.placed(pane);
    const centre = [...viewer.centre];
    centre[plane.columns] -= dx / view.sx;
    centre[plane.rows] -= ((plane.flipped ? -1 : 1) * dy) / view.sy;
    viewer.change({ centre });
  };

  /** Change the window: to the right wider, upwards brighter. */
  const shade = (dx, dy) => {
    const channel = viewer.volume.channels[viewer.channel];
    const window = viewer.windows[viewer.channel];
    if (!channel || !window) return;
    const span = Math.max(channel.range[1] - channel.range[0], 1e-6);
    const level = (window[0] + window[1]) / 2 + (dy * span) / 800;
    const width = Math.max(window[1] - window[0] + (dx * span) / 400, span / 4096);
    const windows = [...viewer.windows];
    windows[viewer.channel] = [level - width / 2, level + width / 2];
    viewer.change({ windows });
  };

  const step = (axis, n) => {
    const at = [...viewer.cursor];
    at[axis] += n;
    viewer.moveCursor(at);
  };

  viewer.connect = (pane) => {
    const { canvas } = pane;
    let last = null;
    const drag = (event) => {
      const [dx, dy] = [event.clientX - last.clientX, event.clientY - last.clientY];
      const ratio = canvas.width / canvas.getBoundingClientRect().width;
      if (event.buttons & 2) shade(dx, dy);
      else if (event.buttons & 4 || event.shiftKey) pan(pane, dx * ratio, dy * ratio);
      else {
        const at = viewer.voxelAt(pane, ...pixel(pane, event));
        if (at) viewer.moveCursor(at);
      }
      last = event;
    };
    canvas.addEventListener("pointerdown", (event) => {
      viewer.axis = pane.plane.axis;
      last = event;
      canvas.setPointerCapture(event.pointerId);
      drag(event);
      if (event.button === 1) event.preventDefault();
    });
    canvas.addEventListener("pointermove", (event) => {
      if (last) drag(event);
      tell(pane, event);
    });
    for (const name of ["pointerup", "pointercancel"]) canvas.addEventListener(name, () => { last = null; });
    canvas.addEventListener("pointerleave", () => { viewer.pointed.textContent = ""; });
    canvas.addEventListener("contextmenu", (event) => event.preventDefault());
    canvas.addEventListener("wheel", (event) => {
      if (event.ctrlKey || event.metaKey) {
        event.preventDefault();
        const at = viewer.voxelAt(pane, ...pixel(pane, event));
        viewer.zoomBy(event.deltaY < 0 ? 1.2 : 1 / 1.2, at?.map((i) => i + 0.5));
      } else if (pane.plane.depth > 1 && event.deltaY !== 0) {
        event.preventDefault();
        viewer.axis = pane.plane.axis;
        step(pane.plane.axis, Math.sign(event.deltaY));
      }
    }, { passive: false });
  };

  const toggle = (name) => viewer.change({ [name]: !viewer[name] });
  const other = (name, first, second) => viewer.change({ [name]: viewer[name] === first ? second : first });
  const flip = (n) => {
    const count = viewer.sources().length;
    viewer.change({ source: (viewer.source + n + count) % count });
  };
  const nextPlane = () => {
    const axes = viewer.planes().map((plane) => plane.axis);
    viewer.change({ axis: axes[(axes.indexOf(viewer.axis) + 1) % axes.length] });
  };
  const panKeys = (dx, dy) => {
    const pane = viewer.panes.find((one) => one.plane.axis === viewer.axis) ?? viewer.panes[0];
    pan(pane, dx * STEP * pane.canvas.width, dy * STEP * pane.canvas.height);
  };

  const ACTIONS = {
    ArrowUp: () => step(viewer.axis, 1),
    ArrowDown: () => step(viewer.axis, -1),
    PageUp: () => step(viewer.axis, FAST),
    PageDown: () => step(viewer.axis, -FAST),
    ArrowRight: () => flip(1),
    ArrowLeft: () => flip(-1),
    "Shift+ArrowUp": () => panKeys(0, 1),
    "Shift+ArrowDown": () => panKeys(0, -1),
    "Shift+ArrowLeft": () => panKeys(1, 0),
    "Shift+ArrowRight": () => panKeys(-1, 0),
    "+": () => viewer.zoomBy(1.25),
    "=": () => viewer.zoomBy(1.25),
    "-": () => viewer.zoomBy(1 / 1.25),
    r: () => viewer.reset(),
    d: () => other("mode", "difference", "segmentation"),
    f: () => other("style", "fill", "contour"),
    o: () => toggle("overlay"),
    s: () => other("layout", "side", viewer.planes().length > 1 ? "planes" : "one"),
    v: nextPlane,
    e: () => viewer.toErrors(),
    w: () => viewer.cycleWindow(),
    n: () => page.openNext(1),
    p: () => page.openNext(-1),
    x: () => page.toggleFlag(page.get("opened")),
  };

  viewer.stage.addEventListener("keydown", (event) => {
    if (!viewer.volume || event.ctrlKey || event.metaKey || event.altKey) return;
    const digit = /^[0-9]$/.test(event.key) ? Number(event.key) : null;
    const action = ACTIONS[(event.shiftKey && event.key.startsWith("Arrow") ? "Shift+" : "") + event.key];
    if (digit !== null && digit < viewer.sources().length) viewer.change({ source: digit });
    else if (digit === null && action) action();
    else return;
    event.preventDefault();
  });
})();
