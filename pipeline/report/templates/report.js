"use strict";
(() => {
  const dark = window.matchMedia("(prefers-color-scheme: dark)");
  const charts = document.getElementById("charts").textContent;
  const themes = JSON.parse(document.getElementById("themes").textContent);
  const drawn = [];

  // Specifications name colours as "@accent"; each scheme has its own.
  function painted(name, scheme) {
    const { colours } = themes[scheme];
    const paint = (key, value) =>
      (key === "fill" || key === "stroke") && String(value).startsWith("@") ? colours[value.slice(1)] : value;
    return JSON.parse(charts, paint)[name];
  }

  async function draw(place) {
    const theme = dark.matches ? "dark" : "light";
    const options = { actions: false, renderer: "svg", config: themes[theme].config, tooltip: { disableDefaultStyle: true } };
    const result = await vegaEmbed(place, painted(place.dataset.chart, theme), options);
    place.dataset.drawn = theme;
    drawn.push(result);
  }

  async function drawAll() {
    drawn.splice(0).forEach((result) => result.finalize());
    for (const place of document.querySelectorAll("[data-chart]")) {
      try {
        await draw(place);
      } catch (error) {
        place.textContent = `The chart could not be drawn: ${error.message}`;
        console.error(error);
      }
    }
  }

  dark.addEventListener("change", drawAll);
  drawAll();

  // A closed table is no use on paper.
  window.addEventListener("beforeprint", () => document.querySelectorAll("details").forEach((part) => { part.open = true; }));
})();
