"use strict";
Report.ready.then((packed) => {
  const form = document.getElementById("explorer");
  if (!packed || !packed.explorer || !form) return;
  const { fronts, full, heads, exits, source, setting, ask, bound, command } = packed.explorer;
  const EXITS = 0, HEADS = 1, THRESHOLDS = 2, MIOU = 3, LATENCY = 4, WORST = 5, RATES = 6, ANSWERS = 7;
  const TOLERANCE = 1e-9;
  const fields = form.elements;
  const points = Object.values(fronts).flatMap((front) => front.points);
  const fastest = Math.min(...points.map((p) => p[LATENCY])) / 1e6;
  const slowest = Math.max(full[LATENCY], ...points.map((p) => p[LATENCY])) / 1e6;
  const step = 10 ** Math.floor(Math.log10((slowest - fastest) / 200 || 1e-3));
  const largestDrop = Math.max(0, Math.ceil(100 * (full[MIOU] - Math.min(...points.map((p) => p[MIOU])))));

  const digits = (value) => {
    const exponent = Math.floor(Math.log10(Math.abs(value) || 1));
    return value.toFixed(Math.max(0, 2 - exponent));
  };
  const duration = (ns) => (ns >= 1e9 ? `${digits(ns / 1e9)}\u202fs` : ns >= 1e5 ? `${digits(ns / 1e6)}\u202fms` : `${digits(ns / 1e3)}\u202fµs`);
  const percent = (share) => `${(100 * share).toFixed(1)}\u202f%`;
  const points_ = (share) => {
    const value = Math.round(1000 * share) / 10;
    return `${value < 0 ? "−" : value > 0 ? "+" : "±"}${Math.abs(value).toFixed(1)}\u202fpp`;
  };
  const plain = (value) => String(Number(value.toFixed(6)));
  const named = (point, n) => `${exits[point[EXITS][n]]} ${heads[point[HEADS][n]]}`;
  const configuration = (point) => point[EXITS]
    .map((_, n) => named(point, n) + (n < point[THRESHOLDS].length ? ` (leave at ${point[THRESHOLDS][n].toFixed(3)})` : ""))
    .join(" → ");

  const chosenSetting = () => new FormData(form).get("setting");
  const chosenAsk = () => new FormData(form).get("ask");
  const latencyBound = () => Number(fields.latency.value) * 1e6;
  const leastMiou = () => full[MIOU] - Number(fields.drop.value) / 100;

  // On a front, mIoU rises with latency: the last point within a latency is the most accurate, the first point over an
  // mIoU the cheapest.
  function pick(front, by) {
    if (by === "latency") return front.findLast((p) => p[LATENCY] <= latencyBound() * (1 + TOLERANCE));
    return front.find((p) => p[MIOU] >= leastMiou() - TOLERANCE);
  }

  function rows(point) {
    const rival = fronts.budgeted && fronts.budgeted.points.find((p) => p[MIOU] >= point[MIOU] - TOLERANCE);
    const anytime = chosenSetting() === "anytime";
    return [
      ["configuration", configuration(point)],
      ["thresholds", point[THRESHOLDS].length ? point[THRESHOLDS].join(", ") : "none"],
      [anytime ? "mean mIoU over the deadlines, search split" : "mIoU, search split", `${percent(point[MIOU])} (${points_(point[MIOU] - full[MIOU])} against the full network)`],
      [anytime ? "latency until the last answer" : "expected latency", `${duration(point[LATENCY])} (${source})`],
      ["worst latency, the full path", `${duration(point[WORST])} (${source})`],
      [anytime ? "share of deadlines answered by" : "leaves at", point[EXITS].map((e, n) => `${exits[e]} ${percent(point[RATES][n])}`).join(", ")],
      ...(point[ANSWERS] || []).map(([ns, miou], n) => [`answer of ${exits[point[EXITS][n]]}`, `after ${duration(ns)} (${source}), mIoU ${percent(miou)}`]),
      ["against the full network", `${(full[LATENCY] / point[LATENCY]).toFixed(2)}×`],
      ...(anytime ? [] : [["against the cheapest single exit that is as accurate", rival ? `${(rival[LATENCY] / point[LATENCY]).toFixed(2)}× (${configuration(rival)})` : "no single exit is as accurate"]]),
    ];
  }

  function none(front) {
    const [first, last] = [front[0], front[front.length - 1]];
    return chosenAsk() === "latency"
      ? `Nothing is that fast: the fastest point takes ${duration(first[LATENCY])} (${source}).`
      : `Nothing is that accurate: the most accurate point has ${percent(last[MIOU])}, ${points_(last[MIOU] - full[MIOU])} against the full network.`;
  }

  function typed(by) {
    const { deadlines_ns } = fronts[chosenSetting()];
    const limit = by === "latency" ? `--max-latency ${plain(latencyBound() / 1e6)}ms` : `--max-drop ${plain(Number(fields.drop.value))}pp`;
    const deadlines = deadlines_ns.map((ns) => `--deadline ${plain(ns / 1e6)}ms`);
    return [command, "--setting", chosenSetting(), ...deadlines, limit].join(" ");
  }

  function tell(point, front) {
    const list = document.getElementById("picked");
    list.replaceChildren();
    for (const [name, text] of point ? rows(point) : [["no such point", none(front)]]) {
      const row = document.createElement("div");
      const term = document.createElement("dt");
      const figure = document.createElement("dd");
      term.textContent = name;
      figure.textContent = text;
      row.append(term, figure);
      list.append(row);
    }
    document.getElementById("typed").textContent = typed(chosenAsk());
    document.getElementById("typed").closest(".command").hidden = !command;
    const said = document.getElementById("said");
    clearTimeout(said.timer);
    said.timer = setTimeout(() => { said.textContent = point ? `${configuration(point)}: ${percent(point[MIOU])}, ${duration(point[LATENCY])}` : none(front); }, 400);
  }

  function show(point, by) {
    const view = Report.view("pareto");
    if (!view) return;
    view.data("picked", point ? [{ latency: point[LATENCY] / 1e6, miou: 100 * point[MIOU] }] : []);
    view.data("asked_latency", by === "latency" ? [{ latency: latencyBound() / 1e6 }] : []);
    view.data("asked_miou", by === "drop" ? [{ miou: 100 * leastMiou() }] : []);
    view.runAsync();
  }

  function update() {
    const by = chosenAsk();
    const front = fronts[chosenSetting()].points;
    const point = pick(front, by);
    fields.latencyRange.setAttribute("aria-valuetext", `${plain(latencyBound() / 1e6)} milliseconds`);
    fields.dropRange.setAttribute("aria-valuetext", `${plain(Number(fields.drop.value))} percentage points`);
    form.dataset.picked = point ? configuration(point) : "";
    tell(point, front);
    show(point, by);
  }

  // A slider and its number field say the same; touching either asks its question.
  function couple(range, number, by) {
    const take = (from, to) => () => {
      if (from.value === "" || !from.validity.valid && from === number && Number.isNaN(from.valueAsNumber)) return;
      to.value = from.value;
      form.querySelector(`[name=ask][value=${by}]`).checked = true;
      update();
    };
    range.addEventListener("input", take(range, number));
    number.addEventListener("input", take(number, range));
  }

  function limits(field, low, high, by) {
    Object.assign(field, { min: low, max: high, step: by });
  }

  function prepare() {
    const low = Math.floor(fastest / step) * step, high = Math.ceil(slowest / step) * step;
    for (const field of [fields.latencyRange, fields.latency]) limits(field, plain(low), plain(high), field.type === "number" ? "any" : plain(step));
    for (const field of [fields.dropRange, fields.drop]) limits(field, 0, largestDrop, field.type === "number" ? "any" : 0.1);
    const latency = ask === "latency" && bound !== null ? bound / 1e6 : packed.explorer.start_ns / 1e6;
    fields.latency.value = plain(Math.ceil(latency / step) * step);
    fields.latencyRange.value = fields.latency.value;
    fields.drop.value = plain(ask === "drop" && bound !== null ? 100 * bound : 1);
    fields.dropRange.value = fields.drop.value;
    if (ask === "latency" && bound !== null) fields.latency.value = plain(bound / 1e6);
    form.querySelector(`[name=setting][value=${setting}]`).checked = true;
    form.querySelector(`[name=ask][value=${ask}]`).checked = true;
  }

  prepare();
  couple(fields.latencyRange, fields.latency, "latency");
  couple(fields.dropRange, fields.drop, "drop");
  form.querySelectorAll("[type=radio]").forEach((field) => field.addEventListener("change", update));
  form.addEventListener("submit", (event) => event.preventDefault());
  document.getElementById("copy").addEventListener("click", async (event) => {
    await navigator.clipboard.writeText(document.getElementById("typed").textContent);
    event.target.textContent = "Copied";
  });
  form.hidden = false;
  Report.onDrawn(update);
});
