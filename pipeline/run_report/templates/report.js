"use strict";
const Report = (() => {
  const dark = window.matchMedia("(prefers-color-scheme: dark)");
  const themes = JSON.parse(document.getElementById("themes").textContent);
  const COLOURED = new Set(["fill", "stroke", "value", "labelColor", "titleColor", "gridColor", "domainColor", "tickColor"]);
  const views = new Map();
  const listeners = [];

  async function unpack() {
    const bytes = Uint8Array.from(atob(document.getElementById("packed").textContent.trim()), (c) => c.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
    return new Response(stream).json();
  }

  function load(code) {
    const script = document.createElement("script");
    script.textContent = code;
    document.head.append(script);
  }

  // Specifications name colours as "@accent"; each scheme has its own.
  function painted(specification, scheme) {
    const colours = themes[scheme];
    return JSON.parse(JSON.stringify(specification), (key, value) =>
      COLOURED.has(key) && typeof value === "string" && value.startsWith("@") ? colours[value.slice(1)] : value);
  }

  const tip = document.createElement("div");
  tip.id = "tip";
  tip.setAttribute("role", "tooltip");
  document.body.append(tip);

  function showTip(_view, event, _item, value) {
    tip.classList.toggle("visible", Boolean(value));
    if (!value) return;
    const table = document.createElement("table");
    for (const [key, text] of Object.entries(value)) {
      const row = table.insertRow();
      row.insertCell().textContent = key;
      row.insertCell().textContent = text;
    }
    tip.replaceChildren(table);
    const { clientX: x, clientY: y } = event;
    tip.style.left = `${Math.max(8, Math.min(x + 14, innerWidth - tip.offsetWidth - 8))}px`;
    tip.style.top = `${y + 18 + tip.offsetHeight > innerHeight ? Math.max(8, y - tip.offsetHeight - 14) : y + 18}px`;
  }

  async function draw(place, specification, scheme) {
    place.replaceChildren();
    const options = { renderer: "svg", container: place, hover: true, tooltip: showTip };
    const view = new vega.View(vega.parse(painted(specification, scheme)), options);
    views.set(place.dataset.chart, view);
    await view.runAsync();
    // The place has the chart's name; its marks have no names that would help, the tables do.
    place.querySelector("svg").setAttribute("aria-hidden", "true");
    place.dataset.drawn = scheme;
  }

  async function drawAll(charts) {
    const scheme = dark.matches ? "dark" : "light";
    views.forEach((view) => view.finalize());
    views.clear();
    for (const place of document.querySelectorAll("[data-chart]")) {
      try {
        await draw(place, charts[place.dataset.chart], scheme);
      } catch (error) {
        place.textContent = `The chart could not be drawn: ${error.message}`;
        console.error(error);
      }
    }
    listeners.forEach((listener) => listener());
  }

  async function start() {
    const places = document.querySelectorAll("[data-chart]");
    if (typeof DecompressionStream === "undefined") {
      places.forEach((place) => { place.textContent = "This browser is too old to unpack the chart; its figures are in the tables."; });
      return null;
    }
    const packed = await unpack();
    load(packed.library);
    await drawAll(packed.charts);
    dark.addEventListener("change", () => drawAll(packed.charts));
    return packed;
  }

  // A closed table is no use on paper.
  window.addEventListener("beforeprint", () => document.querySelectorAll("details").forEach((part) => { part.open = true; }));

  return { ready: start(), view: (name) => views.get(name), onDrawn: (listener) => { listeners.push(listener); listener(); } };
})();
