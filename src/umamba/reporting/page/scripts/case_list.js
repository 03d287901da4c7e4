/** The list of cases: sorted, filtered, flagged; and the flags as CSV. */
(() => {
  "use strict";
  const page = window.umambaPage;
  const mount = document.getElementById("case-browser");
  if (!mount || !page.data.browser) return;
  const { make, shown, data } = page;
  const scores = data.scores;
  const names = scores?.cases ?? data.browser.cases;
  const models = scores?.models ?? [];
  const MOST_ROWS = 100;
  const MOST_MODELS = 12; // columns; of more models, only the summaries are listed
  const flags = new Map(); // case -> note
  const state = { sort: "case", down: false, all: false };
  const known = (x) => typeof x === "number";

  const metric = () => scores?.metrics.find((its) => its.name === page.get("metric")) ?? scores?.metrics[0];
  const valuesOf = () => (scores ? scores.values[metric().name]?.[page.get("label") ?? ""] ?? [] : []);
  const written = (x) => (known(x) ? x.toFixed(metric()?.decimals ?? 3).replace("-", "\u2212") : x === null || x === undefined ? "\u2013" : shown(x));
  const fact = (x) => (known(x) ? String(Number(x.toPrecision(4))) : x === null ? "\u2013" : shown(x));

  /** Return all columns: key, title, value of a case, and how the value is written. */
  const columns = () => {
    const facts = Object.entries(scores?.facts ?? {});
    const values = valuesOf();
    const row = (i) => models.map((_, m) => values[m]?.[i]).filter(known);
    const few = models.length <= MOST_MODELS ? models : [];
    return [
      { key: "case", title: "case", value: (i) => names[i], text: true },
      ...facts.map(([title, all]) => ({ key: `fact ${title}`, title, value: (i) => all[i] ?? null, write: fact })),
      ...few.map((model, m) => ({ key: `model ${model}`, title: shown(model), value: (i) => values[m]?.[i] ?? null, write: written })),
      ...(models.length > 1 ? [
        { key: "mean", title: "mean of models", value: (i) => (row(i).length ? row(i).reduce((a, b) => a + b, 0) / row(i).length : null), write: written },
        { key: "disagreement", title: "disagreement (largest \u2212 smallest)", value: (i) => (row(i).length > 1 ? Math.max(...row(i)) - Math.min(...row(i)) : null), write: written },
      ] : []),
    ];
  };

  const input = (id, attributes) => make("input", { id, ...attributes, on: { input: () => render() } });
  const choice = (id, change = () => render()) => make("select", { id, on: { change } });
  const name = input("list-name", { type: "search", placeholder: "part of the name" });
  const field = choice("list-field");
  const low = input("list-low", { type: "number", step: "any", class: "viewer-number" });
  const high = input("list-high", { type: "number", step: "any", class: "viewer-number" });
  const flagged = input("list-flagged", { type: "checkbox" });
  const count = make("span", { role: "status", class: "list-count" });
  const more = make("button", { type: "button", id: "list-all", on: { click: () => { state.all = true; render(); } } });
  const save = make("button", { type: "button", id: "flags-save", on: { click: () => download() } });
  const table = make("table");
  const parts = (page.groupings ?? []).map(({ fact, all, values }) => {
    const list = choice(`list-${fact.replace(" ", "-")}`);
    list.append(make("option", { value: "" }, "all"), ...values.map((its, n) => make("option", { value: n }, shown(its))));
    return { fact, list, passes: (i) => list.value === "" || all[i] === values[Number(list.value)] };
  });

  const fillFields = () => {
    const numeric = columns().filter((column) => !column.text && names.some((_, i) => known(column.value(i))) && column.key !== "fact fold");
    const before = field.value;
    field.replaceChildren(...numeric.map((column) => make("option", { value: column.key }, column.title)));
    if (numeric.some((column) => column.key === before)) field.value = before;
    filter.hidden = !numeric.length;
  };

  const compare = (a, b) => (typeof a === "number" && typeof b === "number" ? a - b : String(a) < String(b) ? -1 : String(a) > String(b) ? 1 : 0);

  /** Return the indices of the cases that pass all filters, in order. */
  const listed = () => {
    const all = columns();
    const chosen = page.get("chosen");
    const wanted = chosen ? new Set(chosen) : null;
    const filtered = all.find((column) => column.key === field.value);
    const within = (x) => (low.value === "" || (known(x) && x >= Number(low.value))) && (high.value === "" || (known(x) && x <= Number(high.value)));
    const passes = (i) =>
      (!wanted || wanted.has(names[i])) &&
      names[i].toLowerCase().includes(name.value.toLowerCase()) &&
      parts.every((part) => part.passes(i)) &&
      (!filtered || within(filtered.value(i))) &&
      (!flagged.checked || flags.has(names[i]));
    const by = all.find((column) => column.key === state.sort) ?? all[0];
    const found = names.map((_, i) => i).filter(passes);
    const [there, gone] = [found.filter((i) => by.value(i) !== null), found.filter((i) => by.value(i) === null)];
    there.sort((i, j) => (state.down ? -1 : 1) * compare(by.value(i), by.value(j)) || i - j);
    return [...there, ...gone];
  };

  const sortBy = (column) => {
    state.down = state.sort === column.key ? !state.down : false;
    state.sort = column.key;
    render();
  };

  const captionOf = () => {
    const label = page.get("label") ?? "";
    const of = label === "" ? "" : ` of ${shown(label)}`;
    const whose = models.length > 1 ? " of each model, as its mean over trainings" : "";
    return make("caption", {}, metric() ? `${metric().title}${of}${whose}` : "Cases");
  };
  const headOf = (all) =>
    make("thead", {}, make("tr", {},
      make("th", { scope: "col", class: "text" }, "flag"),
      ...all.map((column) => make("th", { scope: "col", class: column.text ? "text" : "number", "aria-sort": state.sort === column.key ? (state.down ? "descending" : "ascending") : null },
        make("button", { type: "button", "data-key": column.key, on: { click: () => sortBy(column) } }, column.title)))));

  const rowOf = (all, i) => {
    const its = names[i];
    const box = make("input", { type: "checkbox", "data-key": `flag ${i}`, "aria-label": `flag ${shown(its)}`, on: { change: () => page.toggleFlag(its) } });
    box.checked = flags.has(its);
    const open = make("button", { type: "button", class: "list-open", "data-key": `open ${i}`, on: { click: () => page.set("opened", its) } }, shown(its));
    const cells = all.slice(1).map((column) => make("td", {}, column.write(column.value(i))));
    const row = make("tr", { class: page.get("opened") === its ? "list-opened" : null }, make("td", { class: "text" }, box), make("th", { scope: "row", class: "text" }, open), ...cells);
    row.addEventListener("pointerenter", () => page.set("hovered", its));
    row.addEventListener("pointerleave", () => page.set("hovered", null));
    return row;
  };

  const render = () => {
    const all = columns();
    const found = listed();
    const drawn = state.all ? found : found.slice(0, MOST_ROWS);
    const focused = table.contains(document.activeElement) ? document.activeElement.dataset.key : null;
    table.replaceChildren(captionOf(), headOf(all), make("tbody", {}, ...drawn.map((i) => rowOf(all, i))));
    if (focused) [...table.querySelectorAll("[data-key]")].find((its) => its.dataset.key === focused)?.focus();
    count.textContent = `${found.length} of ${names.length} cases`;
    more.hidden = drawn.length === found.length;
    more.textContent = `List all ${found.length}`;
    save.disabled = !flags.size;
    save.textContent = `Save ${flags.size} flags as CSV`;
  };

  // Spreadsheets compute what begins like a formula, unless an apostrophe comes first.
  const quoted = (text) => `"${text.replace(/^(?=[=+\-@\t\r])/, "'").replaceAll('"', '""')}"`;
  const download = () => {
    const lines = [["case", "note"], ...[...flags].sort(([a], [b]) => (a < b ? -1 : 1))];
    const text = lines.map((line) => line.map(quoted).join(",")).join("\r\n");
    const href = URL.createObjectURL(new Blob([`${text}\r\n`], { type: "text/csv;charset=utf-8" }));
    make("a", { href, download: "flagged_cases.csv" }).click();
    setTimeout(() => URL.revokeObjectURL(href), 1000);
  };

  /** Show flag and note of the open case beside its name. */
  const renderFlag = () => {
    const its = page.get("opened");
    const place = page.viewer.flagging;
    if (its === null) return;
    const box = make("input", { type: "checkbox", id: "viewer-flag", on: { change: () => page.toggleFlag(its) } });
    box.checked = flags.has(its);
    const note = make("input", { type: "text", id: "viewer-note", "aria-label": "Note on this case", placeholder: "note", on: { input: () => { flags.set(its, note.value); box.checked = true; render(); } } });
    note.value = flags.get(its) ?? "";
    place.replaceChildren(make("label", {}, box, " flag"), " ", note);
  };

  page.toggleFlag = (its) => {
    if (its === null) return;
    if (flags.has(its)) flags.delete(its);
    else flags.set(its, "");
    render();
    renderFlag();
  };

  /** Open the case after or before the open one in the list. */
  page.openNext = (step) => {
    const found = listed();
    if (!found.length) return;
    const at = found.findIndex((i) => names[i] === page.get("opened"));
    const next = at < 0 ? 0 : (at + step + found.length) % found.length;
    page.set("opened", names[found[next]]);
  };

  const filter = make("span", { class: "list-filter" }, make("label", {}, "Only ", field), make("label", {}, " from ", low), make("label", {}, " to ", high));
  const controls = make("div", { class: "controls" },
    make("label", {}, "Name ", name),
    ...parts.map(({ fact, list }) => make("label", {}, `${fact[0].toUpperCase()}${fact.slice(1)} `, list)),
    filter,
    make("label", {}, flagged, " flagged"), count, save);
  mount.append(
    make("div", { class: "case-list" },
      ...(data.browser.problem ? [make("p", { class: "notes" }, shown(data.browser.problem))] : []),
      controls,
      make("div", { class: "table list-table", role: "region", tabindex: "0", "aria-label": "Cases" }, table),
      more,
      make("p", { class: "notes" }, "Flags and notes stay in this window only: save them before you close or reload it.")));
  fillFields();
  render();
  page.on("chosen", render);
  page.on("opened", () => { render(); renderFlag(); });
  for (const key of ["metric", "label"]) page.on(key, () => { fillFields(); render(); });
})();
