/** The cases that a reader points at, opens or chooses, by pointer and by keyboard alike. */
(() => {
  "use strict";
  const page = window.umambaPage;
  const { make, shown } = page;
  const scores = page.data.scores;
  if (!scores?.cases.length) return;
  const toolbar = document.getElementById("toolbar");
  const position = new Map(scores.cases.map((name, i) => [name, i]));
  const MOST_CHOICES = 40; // of one fact
  const finite = (x) => typeof x === "number";
  const mean = (values) => (values.length ? values.reduce((a, b) => a + b, 0) / values.length : null);
  const written = (value, decimals, sign) =>
    value === null ? "\u2013" : `${sign && value > 0 ? "+" : ""}${value.toFixed(decimals)}`.replace("-", "\u2212");

  // The metric and the label that numbers of cases are of.
  page.set("metric", scores.metrics[0].name);
  page.set("label", scores.labels[0]);
  const chosenMetric = () => scores.metrics.find((metric) => metric.name === page.get("metric"));
  const scoresOf = (metric) => scores.values[metric.name]?.[page.get("label")] ?? [];
  const selection = (key, title, names) => {
    if (names.length < 2) return [];
    const select = make("select", { id: key }, ...names.map(([value, text]) => make("option", { value }, text)));
    select.addEventListener("change", () => page.set(key, select.value));
    page.on(key, (value) => { select.value = value; });
    return [make("label", {}, `${title} `, select)];
  };
  const selections = [
    ...selection("metric", "Metric", scores.metrics.map((metric) => [metric.name, metric.title])),
    ...selection("label", "Label", scores.labels.map((label) => [label, label === "" ? "mean of all" : shown(label)])),
  ];

  // The case field: arrow keys go through the cases, Enter opens one.
  const byShown = new Map(scores.cases.map((name) => [shown(name), name]));
  const options = make("datalist", { id: "case-names" }, ...scores.cases.map((name) => make("option", { value: shown(name) })));
  const field = make("input", { id: "case-field", type: "search", list: "case-names", autocomplete: "off", placeholder: "name, or arrow keys", size: "22" });
  field.addEventListener("input", () => page.set("hovered", byShown.get(field.value) ?? null));
  field.addEventListener("keydown", (event) => {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    const among = page.get("chosen") ?? scores.cases;
    if (step && among.length) {
      event.preventDefault();
      const at = among.indexOf(byShown.get(field.value));
      const next = among[at < 0 ? (step > 0 ? 0 : among.length - 1) : (at + step + among.length) % among.length];
      field.value = shown(next);
      page.set("hovered", next);
    } else if (event.key === "Enter" && byShown.has(field.value)) {
      page.set("opened", byShown.get(field.value));
    }
  });
  const status = make("output", { id: "hovered-case", role: "status", "aria-live": "polite" });

  /** Say what is known of a case: its facts, and the scores of the first models. */
  const said = (name) => {
    const i = position.get(name);
    if (i === undefined) return "";
    const facts = Object.entries(scores.facts).filter(([, all]) => all[i] !== null && all[i] !== "").map(([fact, all]) => `${fact} ${shown(all[i])}`);
    const metric = chosenMetric();
    const models = scores.models.map((model, m) => [model, scoresOf(metric)[m]?.[i]]).filter(([, x]) => finite(x));
    const of = page.get("label") === "" ? "" : ` of ${shown(page.get("label"))}`;
    const few = models.slice(0, 6).map(([model, x]) => `${shown(model)} ${written(x, metric.decimals)}`);
    return [shown(name), ...facts].join(", ") + (few.length ? `; ${metric.title}${of}: ${few.join(", ")}` : "") + (models.length > 6 ? ", \u2026" : "");
  };
  page.on("hovered", (name) => { status.textContent = name === null ? "" : said(name); });

  /** The facts that part the cases: the name, the fact of each case, and its values in order. */
  page.groupings = ["cases of", "fold", "group", "cluster"].map((fact) => {
    const all = scores.facts[fact] ?? [];
    const values = [...new Set(all)].filter((x) => x !== null && x !== "").sort((a, b) => (a < b ? -1 : 1));
    return { fact, all, values };
  }).filter(({ values }) => values.length > 1);

  // Choosing by a fact, for those who cannot brush.
  const choose = make("select", { id: "choose", "aria-label": "Choose cases" }, make("option", { value: "" }, "Choose cases\u2026"));
  const groups = [];
  for (const { fact, all, values } of page.groupings) {
    if (values.length > MOST_CHOICES) continue;
    for (const value of values) {
      groups.push(scores.cases.filter((_, i) => all[i] === value));
      choose.append(make("option", { value: groups.length - 1 }, `${fact} ${shown(value)}`));
    }
  }
  choose.addEventListener("change", () => {
    if (choose.value !== "") page.set("chosen", groups[Number(choose.value)]);
  });
  const count = make("span", { id: "chosen-count", role: "status" });
  const clear = make("button", { type: "button", id: "clear", hidden: true, on: { click: () => page.set("chosen", null) } }, "All cases (Esc)");
  addEventListener("keydown", (event) => {
    if (event.key === "Escape" && page.get("chosen") !== null && !event.defaultPrevented) page.set("chosen", null);
  });
  page.on("chosen", (names) => {
    clear.hidden = names === null;
    count.textContent = names === null ? "" : `${names.length} of ${scores.cases.length} cases chosen`;
    if (names === null) choose.value = "";
  });
  toolbar.prepend(make("label", {}, "Case ", field), options, ...selections, ...(groups.length ? [choose] : []), count, clear, status);

  /** Return the mean of a model's scores over some cases, and of its differences to a baseline, with the n of both. */
  const summary = (metric, m, b, cases) => {
    const of = scoresOf(metric);
    const own = cases.map((i) => of[m]?.[i]).filter(finite);
    const pairs = cases.map((i) => [of[m]?.[i], of[b]?.[i]]).filter(([x, y]) => finite(x) && finite(y));
    return { mean: mean(own), n: own.length, difference: m === b ? null : mean(pairs.map(([x, y]) => (x - y) * metric.factor)), n_pairs: pairs.length };
  };

  /** Return a mean, with its n if that is not all of the cases. */
  const withCount = (text, n, all) => (n === all || n === 0 ? text : `${text} (n = ${n})`);

  const chosenTable = (names, metrics) => {
    const baseline = page.get("baseline") ?? scores.models[0];
    const b = scores.models.indexOf(baseline);
    const cases = names.map((name) => position.get(name)).filter((i) => i !== undefined);
    const compared = metrics.findIndex((metric) => metric.name === page.get("metric"));
    const first = metrics[Math.max(compared, 0)];
    const head = ["model", ...metrics.map((metric) => metric.title), `${first.unit || first.title} above ${shown(baseline)}`];
    const rows = scores.models.map((model, m) => {
      const found = metrics.map((metric) => summary(metric, m, b, cases));
      const { difference, n_pairs } = found[Math.max(compared, 0)];
      const means = found.map((one, k) => withCount(written(one.mean, metrics[k].decimals), one.n, cases.length));
      const gain = written(difference, first.factor === 1 ? first.decimals : 2, true);
      return [shown(model), ...means, difference === null ? gain : withCount(gain, n_pairs, cases.length)];
    });
    const table = make("table", {},
      make("caption", {}, `Means of the ${cases.length} chosen cases: descriptive only, without intervals or tests, as the cases were chosen by hand.`),
      make("thead", {}, make("tr", {}, ...head.map((title, i) => make("th", { scope: "col", class: i ? "number" : "text" }, title)))),
      make("tbody", {}, ...rows.map((row) => make("tr", {}, ...row.map((cell, i) => make(i ? "td" : "th", { class: i ? "number" : "text", scope: i ? null : "row" }, cell))))));
    page.makeSortable(table);
    return make("div", { class: "table", role: "region", tabindex: "0", "aria-label": "Chosen cases" }, table);
  };

  const render = () => {
    const names = page.get("chosen");
    for (const place of document.querySelectorAll(".chosen-cases")) {
      const wanted = place.dataset.metrics.split(" ");
      const metrics = scores.metrics.filter((metric) => wanted.includes(metric.name));
      place.replaceChildren(...(names === null || !metrics.length ? [] : [chosenTable(names, metrics)]));
    }
  };
  page.on("chosen", render);
  for (const key of ["baseline", "metric", "label"]) page.on(key, render);
})();
