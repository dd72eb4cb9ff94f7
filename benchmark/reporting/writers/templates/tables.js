const root = document.documentElement;
const all = (selector, within = document) => [...within.querySelectorAll(selector)];
root.classList.add("js");

/* ---- tables: sort, filter, save, keep names in sight */

const collator = new Intl.Collator(undefined, { numeric: true });
/* a text that is a number is one: 0.003 comes before 0.01 */
const numeric = (text) => (/^[+-]?[\d,]*\.?\d+(e[+-]?\d+)?$/i.test(text) ? Number(text.replaceAll(",", "")) : text);
const keyOf = (cell) => {
  if (!cell) return null;
  if (cell.dataset.sort !== undefined) return Number(cell.dataset.sort);
  const text = cell.textContent.trim();
  return text === "" || text === "-" ? null : numeric(text);
};
const order = (a, b) => {
  if (typeof a !== typeof b) return typeof a === "number" ? -1 : 1;
  return typeof a === "number" ? a - b : collator.compare(a, b);
};

function sortBy(heading) {
  const body = heading.closest("table").tBodies[0];
  const up = heading.getAttribute("aria-sort") !== "ascending";
  for (const other of heading.parentNode.cells) if (other.hasAttribute("aria-sort")) other.setAttribute("aria-sort", "none");
  heading.setAttribute("aria-sort", up ? "ascending" : "descending");
  const keyed = [...body.rows].map((row) => [keyOf(row.cells[heading.cellIndex]), row]);
  keyed.sort(([a], [b]) => (a === null || b === null ? (a === null) - (b === null) : up ? order(a, b) : order(b, a)));
  body.append(...keyed.map(([, row]) => row));
}
for (const button of all("th[aria-sort] > button")) button.addEventListener("click", () => sortBy(button.parentNode));

for (const input of all("input[data-filters]")) {
  const table = document.getElementById(input.dataset.filters);
  const count = document.querySelector(`output[data-counts="${table.id}"]`);
  const rows = [...table.tBodies[0].rows];
  let texts = null;
  const filter = () => {
    texts ??= rows.map((row) => [...row.cells].map((cell) => cell.textContent).join(" ").toLowerCase());
    const words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    rows.forEach((row, place) => {
      row.hidden = !words.every((word) => texts[place].includes(word));
      shown += !row.hidden;
    });
    count.textContent = words.length ? `${shown} of ${rows.length} rows` : `${rows.length} rows`;
    table.dispatchEvent(new Event("filtered"));
  };
  input.addEventListener("input", filter);
  if (input.value) filter();
}

for (const button of all("button[data-saves]")) {
  button.addEventListener("click", () => {
    const table = document.getElementById(button.dataset.saves);
    const field = (cell) => {
      let text = cell.dataset.sort ?? cell.textContent.trim();
      if (cell.dataset.sort === undefined && /^[=+\-@\t\r]./.test(text)) text = `'${text}`;
      return /[",\n\r]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
    };
    const lines = [...table.rows].filter((row) => !row.hidden).map((row) => [...row.cells].map(field).join(","));
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([`${lines.join("\n")}\n`], { type: "text/csv" }));
    link.download = `${table.caption.textContent.split(":")[0].trim().replace(/[^\w.-]+/g, "-")}.csv`;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  });
}

/* the columns that name a row stay beside each other while the numbers go under them, where there is room */
function keepNames() {
  const kept = [];
  for (const table of all("div.wide > table[id]")) {
    const box = table.parentNode;
    if (box.scrollWidth <= box.clientWidth) continue;
    const names = [...table.tHead.rows[0].cells].filter((cell, place) => cell.classList.contains("name") && cell.cellIndex === place);
    const widths = names.map((cell) => cell.offsetWidth);
    const sum = (from, to) => widths.slice(from, to).reduce((a, b) => a + b, 0);
    /* where not all have room, the last ones; where not even what tells rows apart has it beside others, that alone */
    const first = widths.findIndex((_, place) => sum(place) < box.clientWidth * 0.58);
    const tells = names.findIndex((cell) => cell.classList.contains("tells"));
    kept.push([table, widths.map((_, place) => (first >= 0 && first <= tells && place >= first ? sum(first, place) : null))]);
  }
  /* all widths are read before anything is moved: a page is laid out once */
  for (const [table, lefts] of kept) {
    for (const row of table.rows) {
      for (const [place, left] of lefts.entries()) {
        row.cells[place].style.setProperty("--left", `${left ?? 0}px`);
        row.cells[place].classList.toggle("kept-name", left !== null);
      }
    }
  }
}
let waiting = 0;
addEventListener("resize", () => {
  clearTimeout(waiting);
  waiting = setTimeout(() => { keepNames(); redraw(); }, 150);
});

/* ---- parts of cells: what a link or a print asks for is open */

function openTarget() {
  const target = location.hash.startsWith("#cell-") && document.getElementById(location.hash.slice(1));
  if (target) {
    target.querySelector("details").open = true;
    target.scrollIntoView();
  }
}
addEventListener("hashchange", openTarget);
/* parts of a wide table for paper have the order and the rows of the one on the screen */
const twins = new Map();
for (const table of all(".screen > table")) {
  const bodies = all(":scope > .paper tbody", table.closest("section"));
  for (const [place, row] of [...table.tBodies[0].rows].entries()) twins.set(row, bodies.map((body) => body.rows[place]));
}
let closed = [];
addEventListener("beforeprint", () => {
  for (const table of all(".screen > table")) {
    for (const row of table.tBodies[0].rows) {
      for (const twin of twins.get(row)) {
        twin.hidden = row.hidden;
        twin.parentNode.append(twin);
      }
    }
  }
  closed = all("details:not([open])");
  for (const each of closed) each.open = true;
});
addEventListener("afterprint", () => {
  for (const each of closed) each.open = false;
});
