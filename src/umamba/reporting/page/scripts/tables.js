/** The tables: sorted by a click on a column; the models' table with columns and baseline to choose. */
(() => {
  "use strict";
  const page = window.umambaPage;
  const { make } = page;
  const NUMBER = /^[<~]?\s*([+\u2212-]?[\d,]*\.?\d+(?:e[+-]?\d+)?)/i;

  /** Return the number that a cell begins with, null for a dash, and its text otherwise. */
  const valueOf = (cell) => {
    const text = cell.textContent.trim();
    if (text === "\u2013" || text === "") return null;
    const found = cell.classList.contains("text") ? null : NUMBER.exec(text);
    if (!found) return text.toLowerCase();
    const value = Number(found[1].replace("\u2212", "-").replaceAll(",", ""));
    return text.startsWith("<") ? value - 1e-12 : value;
  };

  const compare = (a, b) => (typeof a === typeof b ? (a < b ? -1 : a > b ? 1 : 0) : typeof a === "number" ? -1 : 1);

  const sort = (table, column, direction) => {
    const body = table.tBodies[0];
    const rows = [...body.rows].map((row) => [valueOf(row.cells[column]), row]);
    const known = rows.filter(([value]) => value !== null).sort(([a], [b]) => direction * compare(a, b));
    body.append(...known.map(([, row]) => row), ...rows.filter(([value]) => value === null).map(([, row]) => row));
    [...table.tHead.rows[0].cells].forEach((cell, i) => {
      if (i === column) cell.setAttribute("aria-sort", direction > 0 ? "ascending" : "descending");
      else cell.removeAttribute("aria-sort");
    });
  };

  const makeSortable = (table) => {
    [...(table.tHead?.rows[0]?.cells ?? [])].forEach((cell, column) => {
      const button = make("button", { type: "button" }, ...cell.childNodes);
      button.addEventListener("click", () => {
        const down = cell.getAttribute("aria-sort") ? cell.getAttribute("aria-sort") === "ascending" : !cell.classList.contains("text");
        sort(table, column, down ? -1 : 1);
      });
      cell.append(button);
    });
  };

  /** Return the contents of a cell: text, or a bold part and the rest. */
  const rich = (cell) => (Array.isArray(cell) ? [make("strong", {}, page.shown(cell[0])), ` ${page.shown(cell[1])}`] : [page.shown(cell)]);

  const rowOf = (cells, texts) =>
    make("tr", {}, ...cells.map((cell, i) => make(i ? "td" : "th", { class: texts[i], scope: i ? null : "row" }, ...rich(cell))));

  const modelTable = (place, baselines) => {
    const hidden = new Set();
    const controls = make("div", { class: "controls" });
    const columns = make("details", { class: "columns" }, make("summary", {}, "Columns"));
    place.prepend(controls);

    const hide = (table) => {
      const titles = [...table.tHead.rows[0].cells].map((cell) => cell.textContent);
      for (const row of table.rows) [...row.cells].forEach((cell, i) => { cell.hidden = hidden.has(columnKey(titles[i])); });
    };
    // The name of the baseline is a part of a title; which column it is, is not.
    const columnKey = (title) => title.replace(/ above .*(?= \[)/, "");

    const show = (name) => {
      const its = baselines.tables[name];
      const texts = its.header.map((_, i) => (its.texts.includes(i) ? "text" : "number"));
      const head = make("tr", {}, ...its.header.map((title, i) => make("th", { scope: "col", class: texts[i] }, ...rich(title))));
      const table = make("table", {}, make("thead", {}, head), make("tbody", {}, ...its.rows.map((row) => rowOf(row, texts))));
      place.querySelector("table").replaceWith(table);
      makeSortable(table);
      hide(table);
      place.querySelector(".table").setAttribute("aria-label", `Models against ${page.shown(name)}`);
    };

    const names = Object.keys(baselines.tables);
    if (names.length > 1) {
      const select = make("select", { class: "baseline" }, ...names.map((name) => make("option", { value: name, selected: name === baselines.shown }, page.shown(name))));
      select.addEventListener("change", () => page.set("baseline", select.value));
      controls.append(make("label", {}, "Baseline ", select));
    }
    for (const title of baselines.tables[baselines.shown].header.slice(1)) {
      const box = make("input", { type: "checkbox", checked: true });
      box.addEventListener("change", () => {
        hidden[box.checked ? "delete" : "add"](columnKey(title));
        hide(place.querySelector("table"));
      });
      columns.append(make("label", {}, box, ` ${title}`));
    }
    controls.append(columns);
    page.on("baseline", (name) => {
      if (!Object.hasOwn(baselines.tables, name)) return;
      show(name);
      for (const select of controls.querySelectorAll("select")) select.value = name;
    });
    page.set("baseline", baselines.shown);
  };

  page.makeSortable = makeSortable;
  page.sortTable = sort;
  for (const table of document.querySelectorAll("main table")) makeSortable(table);
  document.querySelectorAll(".model-table").forEach((place, i) => modelTable(place, page.data.baselines[i]));
})();
