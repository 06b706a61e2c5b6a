// Asks every two seconds how far a sweep is; when rows were added, takes table and plots from the page anew.
"use strict";

const section = document.getElementById("live");

function show(state) {
  const rows = (state.planned ?? state.rows) === 1 ? "row" : "rows";
  const of = state.planned ? ` of ${state.planned}` : "";
  const told = `${state.rows}${of} ${rows}: ${state.repaired} repaired, ${state.failed} not; ${state.running ? "running" : "not running"}.`;
  const line = document.getElementById("live-state");
  if (line.textContent !== told) line.textContent = told; // a screen reader speaks only of changes
  const bar = document.getElementById("live-bar");
  bar.max = Math.max(state.planned ?? state.rows, 1);
  bar.value = state.repaired;
  document.getElementById("live-age").textContent = `Last written ${state.age} s ago`;
  document.getElementById("live-seconds").textContent = state.seconds;
  document.getElementById("live-last").replaceChildren(...state.last.map((text) => Object.assign(document.createElement("li"), { textContent: text })));
}

async function refresh() {
  const answer = await fetch(location.href);
  if (!answer.ok) return;
  const page = new DOMParser().parseFromString(await answer.text(), "text/html");
  const [old, fresh] = [document, page].map((from) => from.getElementById("results"));
  if (!old || !fresh) return;
  old.tBodies[0].replaceWith(fresh.tBodies[0]);
  window.tables?.sortAgain(old);
  document.getElementById("figures").textContent = page.getElementById("figures").textContent;
  window.plots?.drawAll();
}

async function poll() {
  try {
    if (document.visibilityState === "visible") {
      const answer = await fetch(section.dataset.address);
      if (answer.ok) {
        const state = await answer.json();
        show(state);
        if (String(state.rows) !== section.dataset.rows) {
          section.dataset.rows = state.rows;
          await refresh();
        }
      }
    }
  } catch {
    document.getElementById("live-age").textContent = "The page's server does not answer";
  }
  setTimeout(poll, 2000);
}

if (section) setTimeout(poll, 2000);
