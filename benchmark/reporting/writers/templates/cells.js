/* ---- the table of cells: what it tells the charts, and marked cells side by side */

const cells = document.getElementById("rows-cells");
const charts = [];
let onPaper = false;
const redraw = () => { for (const chart of charts) chart.draw(); };

/* the table as data: its columns, the rows that its filter leaves, their values and names */
function told() {
  const body = cells.tBodies[0];
  const columns = [...cells.tHead.rows[0].cells].map((cell) => {
    const key = cell.dataset.key, title = cell.textContent.trim(), isSize = key?.endsWith("_bytes");
    return { key, title, axis: isSize ? `${title} (MiB)` : title, unit: isSize ? 2 ** 20 : 1, numbers: cell.classList.contains("number"), index: cell.cellIndex };
  });
  const column = (key) => columns.find((each) => each.key === key);
  const textOf = (row, each) => row.cells[each.index].textContent.trim();
  const number = (row, each) => Number(row.cells[each.index].dataset.sort ?? NaN) / each.unit;
  const numbers = columns.filter((each) => each.numbers && each.key && each.key !== "seed");
  const textual = columns.filter((each) => each.key && !each.numbers && each.key !== "status");
  const differing = textual.filter((each) => new Set([...body.rows].map((row) => textOf(row, each))).size > 1);
  /* a group's name without what all groups have in common */
  const nameOf = (row) => (differing.length ? differing : textual.slice(2, 3)).map((each) => textOf(row, each)).join(", ");
  const grouped = (rows, by) => {
    const groups = new Map();
    for (const row of rows) {
      const name = by(row);
      if (!groups.has(name)) groups.set(name, []);
      groups.get(name).push(row);
    }
    return groups;
  };
  const rowsNow = () => [...body.rows].filter((row) => !row.hidden);
  const wordsOf = (row) => `${["dataset", "model", "strategy"].map((key) => textOf(row, column(key))).join(", ")}, seed ${textOf(row, column("seed"))}`;
  const linkOf = (row) => row.cells[0].querySelector("a").getAttribute("href");
  return { body, columns, column, textOf, number, numbers, differing, nameOf, grouped, rowsNow, wordsOf, linkOf };
}

/* what differs between the cells that are marked */
function markedCells({ body, columns, textOf, wordsOf, linkOf }) {
  const beside = htmlNode("div", { class: "beside" });
  cells.parentNode.before(beside);
  const settingsOf = (row) => {
    const part = document.getElementById(linkOf(row).slice(1));
    const found = new Map(all("tr.changed", part).map((each) => [each.cells[0].textContent, each.cells[1].textContent]));
    const others = part.querySelector(".defaults")?.textContent.split(": ").slice(1).join(": ") ?? "";
    for (const each of others.split("; ").filter((text) => text.includes(" = "))) found.set(...each.trim().split(/ = (.*)/s).slice(0, 2));
    return found;
  };
  const setBeside = () => {
    const rows = [...body.rows].filter((row) => row.cells[0].querySelector("input").checked);
    beside.replaceChildren();
    if (!rows.length) return;
    if (rows.length === 1) return htmlNode("p", {}, beside, "Mark another cell to see what differs between them.");
    const settings = rows.map(settingsOf);
    const lines = [...new Set(settings.flatMap((each) => [...each.keys()]))].map((name) => [name, settings.map((each) => each.get(name) ?? "-")]);
    for (const each of columns.slice(1)) lines.push([each.title, rows.map((row) => textOf(row, each))]);
    const table = htmlNode("table", { class: "plain" }, htmlNode("div", { class: "wide", tabindex: 0 }, beside));
    htmlNode("caption", {}, table, "Marked cells side by side");
    const head = table.createTHead().insertRow();
    for (const text of ["what differs", ...rows.map(wordsOf)]) htmlNode("th", { scope: "col" }, head, text);
    const lower = table.createTBody();
    for (const [name, values] of lines.filter(([, values]) => new Set(values).size > 1)) {
      const line = lower.insertRow();
      htmlNode("th", { scope: "row" }, line, name);
      for (const value of values) htmlNode("td", {}, line, value);
    }
  };
  for (const row of body.rows) {
    const box = htmlNode("input", { type: "checkbox", "aria-label": `Mark cell ${row.cells[0].textContent.trim()}` });
    box.addEventListener("change", setBeside);
    row.cells[0].prepend(box, " ");
  }
}

const explore = document.getElementById("explore");
if (explore) {
  const table = told();
  for (const [name, make] of [["scatter", scatterChart], ["curves", curvesChart], ["parallel", parallelChart]]) {
    const place = document.getElementById(name), chart = make(place, table);
    if (chart) charts.push(chart);
    else place.remove();
  }
  markedCells(table);
  explore.hidden = false;
  cells.addEventListener("filtered", () => {
    for (const row of table.body.rows) document.getElementById(table.linkOf(row).slice(1)).hidden = row.hidden;
    redraw();
  });
  /* drawn when somebody comes near: a page opens sooner */
  const watch = new IntersectionObserver((entries) => {
    if (entries.some((entry) => entry.isIntersecting)) {
      watch.disconnect();
      redraw();
    }
  }, { rootMargin: "400px" });
  watch.observe(explore);
  for (const event of ["beforeprint", "afterprint"]) addEventListener(event, () => { onPaper = event === "beforeprint"; redraw(); });
}
/* once the page is there to be read */
requestAnimationFrame(() => setTimeout(keepNames));
openTarget();
