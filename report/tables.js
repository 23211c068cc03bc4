"use strict";
// What the page does without its data: tables that sort, downloads of what is shown.

const $ = (selector, root = document) => root.querySelector(selector);
const $$ = (selector, root = document) => [...root.querySelectorAll(selector)];
const make = (tag, given = {}, ...children) => {
  const made = Object.assign(document.createElement(tag), given);
  made.append(...children);
  return made;
};

function save(name, text, kind = "text/plain") {
  const url = URL.createObjectURL(new Blob([text], { type: kind }));
  make("a", { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), 1000);
}

// tables: every head a button that sorts; 12.3k, 4 MiB and 8.4 ms by what they mean, words last
const PREFIX = { k: 1e3, M: 1e6, G: 1e9, KiB: 2 ** 10, MiB: 2 ** 20, GiB: 2 ** 30, TiB: 2 ** 40, ms: 1e-3, "µs": 1e-6, mJ: 1e-3, "µJ": 1e-6 };
const measure = (text) => {
  const found = /^[≥≤]?\s*([-+−]?[\d,]*\.?\d+(?:e[-+]?\d+)?)\s*([A-Za-zµ]+)?/.exec(text.trim());
  return found ? +found[1].replaceAll(",", "").replace("−", "-") * (PREFIX[found[2]] ?? 1) : null;
};
function sort(head) {
  const rising = head.getAttribute("aria-sort") !== "ascending";
  for (const other of head.parentNode.children) other.removeAttribute("aria-sort");
  head.setAttribute("aria-sort", rising ? "ascending" : "descending");
  const body = head.closest("table").tBodies[0];
  const keyed = [...body.rows].map((row) => ({ row, text: row.cells[head.cellIndex].textContent }));
  const named = head.cellIndex === 0;
  const last = ({ text }) => (named ? 0 : +(measure(text) === null));
  const order = (one, other) => (named ? one.text.localeCompare(other.text) : measure(one.text) - measure(other.text));
  keyed.sort((one, other) => last(one) - last(other) || (last(one) ? 0 : rising ? order(one, other) : order(other, one)));
  body.append(...keyed.map(({ row }) => row));
}
// as report/inert.py writes CSV: a number as it is, what begins like a formula behind an apostrophe
const FORMULA = /^[=+\-@\t\r\n＝＋－＠]/, NUMBER = /^[+-]\d[\d,]*(\.\d+)?(e[+-]?\d+)?( ?[%A-Za-zµ]{1,3})?$/;
function csvCell(value) {
  const text = String(value ?? ""), inert = FORMULA.test(text) && !NUMBER.test(text) ? `'${text}` : text;
  return /[",\r\n]/.test(inert) ? `"${inert.replaceAll('"', '""')}"` : inert;
}
const csv = (lines) => lines.map((line) => line.map(csvCell).join(",")).join("\n") + "\n";
function sortable(table) {
  for (const head of $$("thead th", table)) {
    const button = make("button", { type: "button", className: "sort" }, ...head.childNodes);
    button.addEventListener("click", () => sort(head));
    head.append(button);
  }
}
for (const table of $$("table")) {
  if (!table.tHead.rows.length) continue; // the points of a plot have their own
  sortable(table);
  const button = make("button", { type: "button", className: "small" }, "CSV");
  button.addEventListener("click", () => save("table.csv", csv([...table.rows].map((row) => [...row.cells].map((cell) => cell.textContent.trim())))));
  table.parentNode.after(button);
}
for (const button of $$("[data-image]")) {
  const svg = () => decodeURIComponent($("img", button.closest("figure")).src.split(/,(.*)/s)[1]);
  button.addEventListener("click", () => save(button.dataset.image, svg(), "image/svg+xml"));
}
