// Draws the figures that the page carries as JSON, in the colours of the theme. A click on a point follows its link.
"use strict";

function themed(figure) {
  const style = getComputedStyle(document.documentElement);
  const [text, grid] = ["--text", "--line"].map((name) => style.getPropertyValue(name).trim());
  const axis = { gridcolor: grid, zerolinecolor: grid, linecolor: grid, automargin: true };
  const { xaxis, yaxis, ...layout } = structuredClone(figure.layout);
  return {
    paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", font: { color: text, family: "system-ui, sans-serif" },
    margin: { t: 10, r: 10, l: 50, b: 45 }, legend: { orientation: "h", y: 1.02, yanchor: "bottom" }, hovermode: "closest",
    dragmode: matchMedia("(pointer: coarse)").matches ? false : "zoom",
    ...layout, xaxis: { ...axis, ...xaxis }, yaxis: { ...axis, ...yaxis },
  };
}

function draw(canvas, figure) {
  if (!figure.data.some((trace) => (trace.z ?? trace.x ?? []).length)) {
    canvas.textContent = "There is nothing to draw yet.";
    canvas.classList.add("empty");
    return;
  }
  if (canvas.classList.contains("empty")) canvas.replaceChildren();
  canvas.classList.remove("empty");
  Plotly.react(canvas, structuredClone(figure.data), themed(figure), { displayModeBar: false, responsive: true });
  if (canvas.dataset.clickable) return;
  canvas.dataset.clickable = "yes";
  canvas.on("plotly_click", (event) => {
    const link = event.points[0]?.customdata;
    const isOurs = typeof link === "string" && (/^\/(?!\/)/.test(link) || /^page_\d+\.html$/.test(link));
    if (isOurs) location.assign(link);
  });
}

function drawAll(from = document) {
  const data = from.getElementById("figures");
  if (!data || !window.Plotly) return;
  const figures = JSON.parse(data.textContent);
  for (const canvas of document.querySelectorAll(".canvas[data-figure]")) {
    const figure = figures[canvas.dataset.figure];
    if (figure) draw(canvas, figure);
  }
}

drawAll();
document.documentElement.dataset.plots = "drawn";
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => drawAll());
window.plots = { drawAll };
