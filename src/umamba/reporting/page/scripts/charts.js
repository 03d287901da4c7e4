/**
 * The charts: drawn by vega when they come into view, linked by the cases that their marks show.
 *
 * A mark whose row has the field `case` stands for that case. Pointing at it sets `hovered`, a
 * click sets `opened`, and brushing (the selection `brush` of a chart) sets `chosen`. Charts with
 * the parameter `chosen` are told of it; a box is removed once others than its cases are chosen.
 * The marks of the hovered case get rings on top of the drawing, as drawing thousands of marks
 * again would take longer than a frame.
 */
(() => {
  "use strict";
  const page = window.umambaPage;
  const { make, shown } = page;
  const views = new Map();
  const draws = new Map(); // how often each chart was drawn: only the last counts
  const MOST_SVG_ROWS = 2000; // above this, a canvas is faster
  const NARROW = 640; // pixels, below which plots stand below each other
  const [LETTER, SYMBOL] = [6.5, 34]; // pixels of a letter in a legend, and of what stands beside it
  const PAPER = 680; // pixels, the width that A4 and letter paper leave between their margins
  let printing = false;

  const tooltip = make("div", { id: "tooltip", hidden: true });
  document.body.append(tooltip);

  /** Yield every part of a specification that can hold data or a width. */
  function* parts(spec) {
    yield spec;
    for (const key of ["layer", "hconcat", "vconcat", "concat"]) for (const part of spec[key] ?? []) yield* parts(part);
    if (spec.spec) yield* parts(spec.spec);
  }

  const inlineRows = (spec) => [
    ...Object.values(spec.datasets ?? {}).flat(),
    ...[...parts(spec)].flatMap((part) => part.data?.values ?? []),
  ].filter((row) => Object.keys(row).length);

  const followed = new Map(); // the chart of each figure that follows the chosen baseline
  const firstOf = (figure) => page.data.charts[figure.dataset.chart];
  const chartOf = (figure) => followed.get(figure) ?? firstOf(figure);

  /** Return a copy in which colours that would vanish on the background are replaced. */
  const coloured = (spec, colours) => {
    const known = (value) => typeof value === "string" && Object.hasOwn(colours, value);
    if (!Object.keys(colours).length) return spec;
    return JSON.parse(JSON.stringify(spec, (key, value) => (key !== "case" && known(value) ? colours[value] : value)));
  };

  /** Return a copy whose legends have no more columns than a width has room for. */
  const withLegends = (spec, width) => {
    const copy = { ...spec };
    for (const key of ["layer", "hconcat", "vconcat", "concat"]) {
      if (spec[key]) copy[key] = spec[key].map((part) => withLegends(part, width));
    }
    if (spec.spec) copy.spec = withLegends(spec.spec, width);
    for (const [name, channel] of Object.entries(spec.encoding ?? {})) {
      const columns = channel?.legend?.columns;
      const names = channel?.scale?.domain;
      if (!columns || !Array.isArray(names)) continue;
      const longest = Math.max(...names.map((text) => String(text).length)) * LETTER + SYMBOL;
      const fitting = Math.max(Math.min(columns, Math.floor(width / longest)), 1);
      copy.encoding = { ...copy.encoding, [name]: { ...channel, legend: { ...channel.legend, columns: fitting } } };
    }
    return copy;
  };

  /** Return a copy that fills a width, with axes and all if it is a single plot. */
  const fitted = (spec, width) => {
    const whole = withLegends(sized(spec, width), width);
    if (["hconcat", "vconcat", "concat", "spec"].some((key) => key in whole)) return whole;
    return { ...whole, autosize: { type: "fit-x", contains: "padding" } };
  };

  /** Return a copy with a width for each column; charts that state one keep it. */
  const sized = (spec, width) => {
    const { hconcat, ...rest } = spec;
    if (hconcat && width < NARROW) return sized({ ...rest, vconcat: hconcat }, width);
    const copy = { ...spec };
    if (hconcat) copy.hconcat = hconcat.map((part) => sized(part, width / hconcat.length - 60));
    else if (spec.vconcat) copy.vconcat = spec.vconcat.map((part) => sized(part, width));
    else if (spec.spec) copy.spec = sized(spec.spec, width / (spec.columns ?? 1));
    else if (spec.width === undefined || spec.width === "container") copy.width = Math.max(Math.floor(width), 60);
    return copy;
  };

  const caseOf = (item) => item?.datum?.case ?? item?.datum?.datum?.case ?? null;

  const showTooltip = (_, event, __, value) => {
    const empty = value === null || value === undefined || value === "";
    tooltip.hidden = empty;
    if (empty) return;
    const lines = typeof value === "object" ? Object.entries(value).map(([key, text]) => `${key}: ${shown(text)}`) : [shown(value)];
    tooltip.replaceChildren(...lines.map((line) => make("div", {}, line)));
    tooltip.style.left = `${Math.min(event.clientX + 14, innerWidth - tooltip.offsetWidth - 8)}px`;
    tooltip.style.top = `${Math.min(event.clientY + 14, innerHeight - tooltip.offsetHeight - 8)}px`;
  };

  const refuse = () => Promise.reject(new Error("this page loads nothing"));

  /** Move the box of a brush below the dots, which could not be pointed at otherwise. */
  const boxBelow = (group) => {
    for (const mark of group.marks ?? []) boxBelow(mark);
    const box = (group.marks ?? []).findIndex((mark) => mark.name === "brush_brush");
    if (box < 0) return;
    const [moved] = group.marks.splice(box, 1);
    group.marks.splice(group.marks.findIndex((mark) => mark.name === "brush_brush_bg") + 1, 0, moved);
  };

  const makeView = (figure, spec, width) => {
    const { config, colours } = page.data.themes[printing ? "light" : page.get("theme")];
    const clear = { ...config, background: "transparent" };
    const options = { config: clear, logger: vega.logger(vega.Error) };
    const compiled = vegaLite.compile(fitted(coloured(spec, colours), width), options).spec;
    boxBelow(compiled);
    return new vega.View(vega.parse(compiled, undefined, { ast: true }), {
      expr: vega.expressionInterpreter,
      renderer: inlineRows(spec).length > MOST_SVG_ROWS ? "canvas" : "svg",
      container: figure.querySelector(".drawing"),
      loader: { load: refuse, sanitize: refuse, http: refuse, file: refuse },
      logLevel: vega.Error, // an empty layer, such as that of the hovered case, is worth no warning
      tooltip: showTooltip,
    });
  };

  /** Find the cases whose row lies in a brush: in intervals of numbers, or lists of names. */
  const brushed = (view, brush) => {
    const fields = Object.entries(brush ?? {});
    if (!fields.length) return null;
    const inside = (row) =>
      fields.every(([field, range]) => {
        const value = row[field];
        if (typeof value !== "number") return range.includes(value);
        return value >= Math.min(...range) && value <= Math.max(...range);
      });
    const has = (row) => row && "case" in row && fields.every(([field]) => field in row);
    const tables = Object.values(view.getState({ data: () => true, signals: () => false }).data ?? {});
    const rows = tables.filter(Array.isArray).find((table) => has(table[0])) ?? [];
    return [...new Set(rows.filter(inside).map((row) => row.case))];
  };

  /** Connect a chart to the state of the page; `own` are the cases in its box, or null without one. */
  const listen = (chart) => {
    const { view } = chart;
    view.addEventListener("pointermove", (_, item) => page.set("hovered", caseOf(item)));
    view.addEventListener("pointerout", () => {
      page.set("hovered", null);
      tooltip.hidden = true;
    });
    view.addEventListener("click", (_, item) => {
      if (caseOf(item) !== null) page.set("opened", caseOf(item));
    });
    const signals = view.getState({ signals: () => true, data: () => false }).signals;
    if ("brush" in signals) {
      view.addSignalListener("brush", (_, brush) => {
        const names = brushed(view, brush);
        if (names === null && chart.own === null) return; // there was no box: others stay chosen
        page.set("chosen", names);
        chart.own = page.get("chosen");
      });
    }
    chart.hears = "chosen" in signals;
  };

  /** Return the places of the marks of each case in a drawing, in its pixels. */
  const placesOf = (view) => {
    const places = new Map();
    const visit = (mark, x, y) => {
      for (const item of mark.items ?? []) {
        if (mark.marktype === "group") {
          for (const inner of item.items ?? []) visit(inner, x + (item.x ?? 0), y + (item.y ?? 0));
        } else if (mark.marktype === "symbol" && item.datum?.case !== undefined) {
          if (!places.has(item.datum.case)) places.set(item.datum.case, []);
          places.get(item.datum.case).push([x + item.x, y + item.y]);
        }
      }
    };
    const [x, y] = view.origin();
    const { left, top } = view.padding();
    visit(view.scenegraph().root, x + left, y + top);
    return places;
  };

  const showRings = ({ figure, places }, name) => {
    const rings = (places.get(name) ?? []).map(([x, y]) => {
      const ring = make("span", { class: "ring" });
      ring.style.transform = `translate(${x}px, ${y}px)`;
      return ring;
    });
    figure.querySelector(".rings").replaceChildren(...rings);
  };

  /** Draw a chart, a second time if its axes and legend took more room than there is. */
  const draw = async (figure) => {
    const { spec } = chartOf(figure);
    const plot = figure.querySelector(".plot");
    const room = (printing ? PAPER : plot.clientWidth) - 4;
    const number = (draws.get(figure) ?? 0) + 1;
    draws.set(figure, number);
    let width = room;
    for (let attempt = 0; attempt < 2; attempt += 1) {
      views.get(figure)?.view.finalize();
      const view = makeView(figure, spec, width);
      const chart = { figure, view, own: null, places: new Map() };
      listen(chart);
      views.set(figure, chart);
      await view.runAsync();
      if (draws.get(figure) !== number) return;
      const taken = plot.querySelector("svg, canvas").getBoundingClientRect().width;
      if (taken <= room + 1) break;
      width -= taken - room + 2;
    }
    const drawn = views.get(figure);
    drawn.places = placesOf(drawn.view);
    showRings(drawn, page.get("hovered"));
    if (drawn.hears && page.get("chosen") !== null) drawn.view.signal("chosen", page.get("chosen")).runAsync();
  };

  // One after the other, so that the first appears soon.
  let queue = Promise.resolve();
  const drawSoon = (figure) => {
    queue = queue.then(() => draw(figure)).then(() => new Promise((done) => setTimeout(done)));
  };

  const figures = [...document.querySelectorAll("figure.chart")];
  const drawn = () => figures.filter((figure) => views.has(figure));
  const observer = new IntersectionObserver(
    (entries) => {
      for (const { target, isIntersecting } of entries) {
        if (!isIntersecting) continue;
        observer.unobserve(target);
        drawSoon(target);
      }
    },
    { rootMargin: "400px" },
  );
  for (const figure of figures) observer.observe(figure);

  page.on("chosen", (names) => {
    for (const chart of views.values()) {
      const { view, own, hears } = chart;
      if (own !== null && own !== names) {
        chart.own = null;
        view.data("brush_store", []);
      }
      if (hears) view.signal("chosen", names);
      view.runAsync();
    }
  });
  page.on("hovered", (name) => {
    for (const chart of views.values()) showRings(chart, name);
    for (const label of document.querySelectorAll(".figure-case")) label.textContent = name === null ? "" : shown(name);
  });

  // What HTML says of a chart that has others for other baselines, kept for when its own comes back.
  const following = figures.filter((figure) => firstOf(figure).others);
  for (const figure of following) {
    firstOf(figure).alt = figure.querySelector(".plot").getAttribute("aria-label");
    firstOf(figure).caption = figure.querySelector("figcaption").textContent;
  }
  page.on("baseline", (name) => {
    for (const figure of following) {
      const first = firstOf(figure);
      const own = name === page.data.baselines[0]?.shown ? first : null;
      const next = Object.hasOwn(first.others, name) ? first.others[name] : own;
      if (next === null || next === chartOf(figure)) continue;
      followed.set(figure, next);
      const { title, alt, caption } = next;
      figure.querySelector(".figure-head strong").textContent = shown(title);
      figure.querySelector(".plot").setAttribute("aria-label", shown(alt));
      figure.querySelector("figcaption").textContent = shown(caption);
      const details = figure.querySelector("details");
      details.open = false;
      while (details.childElementCount > 1) details.lastElementChild.remove();
      if (views.has(figure)) drawSoon(figure);
    }
  });
  page.on("theme", () => drawn().forEach(drawSoon));

  let width = document.documentElement.clientWidth;
  let waiting = null;
  addEventListener("resize", () => {
    if (document.documentElement.clientWidth === width) return;
    width = document.documentElement.clientWidth;
    clearTimeout(waiting);
    waiting = setTimeout(() => drawn().forEach(drawSoon), 150);
  });
  // Drawing waits for nothing but promises, so that it has ended when the browser prints.
  addEventListener("beforeprint", () => {
    printing = true;
    figures.forEach(draw);
  });
  addEventListener("afterprint", () => {
    printing = false;
    drawn().forEach(drawSoon);
  });

  /** Return the rows of a chart as tables, one for each set of fields. */
  const tablesOf = (spec) => {
    const bySet = new Map();
    for (const row of inlineRows(spec)) {
      const key = Object.keys(row).join("\u0000");
      if (!bySet.has(key)) bySet.set(key, []);
      bySet.get(key).push(row);
    }
    return [...bySet.values()].map((rows) => {
      const fields = Object.keys(rows[0]);
      const head = make("tr", {}, ...fields.map((field) => make("th", { scope: "col" }, field)));
      const body = rows.map((row) => make("tr", {}, ...fields.map((field) => make("td", {}, shown(row[field] ?? "–")))));
      return make("div", { class: "table", role: "region", tabindex: "0", "aria-label": "Data of the chart" },
        make("table", {}, make("thead", {}, head), make("tbody", {}, ...body)));
    });
  };
  for (const figure of figures) {
    const details = figure.querySelector("details");
    details.addEventListener("toggle", () => {
      if (details.open && details.childElementCount === 1) {
        details.append(...tablesOf(chartOf(figure).spec));
      }
    });
  }
  page.views = views; // for tests
})();
