// Tables whose columns are sorted by the buttons in their heads; what cannot be compared comes last.
"use strict";

function value(row, column, numeric) {
  const cell = row.cells[column];
  if (!numeric) return cell.dataset.value ?? cell.textContent.trim();
  const text = cell.dataset.value ?? cell.textContent.replace(/[,\s]/g, "");
  return text === "" ? NaN : Number(text);
}

function compare(a, b, numeric, sign) {
  if (!numeric) return sign * a.localeCompare(b, undefined, { numeric: true });
  if (Number.isNaN(a) || Number.isNaN(b)) return Number.isNaN(a) - Number.isNaN(b);
  return sign * (a - b);
}

function sortRows(table, column, numeric, sign) {
  const body = table.tBodies[0];
  const rows = Array.from(body.rows, (row) => [value(row, column, numeric), row]);
  rows.sort(([a], [b]) => compare(a, b, numeric, sign));
  body.append(...rows.map(([, row]) => row));
}

function sortAgain(table) {
  const head = table.querySelector("th[aria-sort]");
  if (!head) return;
  const numeric = head.querySelector("button").dataset.sort === "number";
  sortRows(table, head.cellIndex, numeric, head.getAttribute("aria-sort") === "ascending" ? 1 : -1);
}

for (const button of document.querySelectorAll("table.sortable button[data-sort]")) {
  button.addEventListener("click", () => {
    const head = button.closest("th");
    const order = head.getAttribute("aria-sort") === "ascending" ? "descending" : "ascending";
    for (const other of head.parentElement.cells) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", order);
    sortAgain(head.closest("table"));
  });
}

window.tables = { sortAgain };
