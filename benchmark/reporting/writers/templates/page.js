(() => {
"use strict";
const root = document.documentElement;
const all = (selector, within = document) => [...within.querySelectorAll(selector)];
root.classList.add("js");

/* ---- tables: sort, filter, save, keep names in sight */

const collator = new Intl.Collator(undefined, { numeric: true });
const keyOf = (cell) => {
  if (!cell) return null;
  if (cell.dataset.sort !== undefined) return Number(cell.dataset.sort);
  const text = cell.textContent.trim();
  return text === "" || text === "-" ? null : text;
};
const order = (a, b) => (typeof a === "number" && typeof b === "number" ? a - b : collator.compare(String(a), String(b)));

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

/* ---- charts, drawn from the tables of the page */

const COLOURS = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#8C8C8C"];
const DASHES = ["", "6 3", "2 3", "8 3 2 3"];
const MOST_SHOWN = 12;
const svgNode = (name, attributes, parent, text) => {
  const node = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  if (text !== undefined) node.textContent = text;
  parent?.append(node);
  return node;
};
const htmlNode = (name, attributes, parent, text) => {
  const node = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  if (text !== undefined) node.textContent = text;
  parent?.append(node);
  return node;
};
const short = (value) => {
  const size = Math.abs(value);
  if (size !== 0 && (size < 1e-3 || size >= 1e7)) return value.toExponential(1);
  return size >= 1000 ? value.toLocaleString("en", { maximumFractionDigits: 0 }) : String(Number(value.toPrecision(4)));
};

function ticks(low, high, log, count = 6) {
  if (log) {
    const found = [];
    for (let power = Math.floor(Math.log10(low)); power <= Math.ceil(Math.log10(high)); power++) {
      for (const part of [1, 2, 5]) found.push(part * 10 ** power);
    }
    const inside = found.filter((value) => value >= low && value <= high);
    const decades = inside.filter((value) => Math.abs(Math.log10(value) - Math.round(Math.log10(value))) < 1e-9);
    return inside.length > 8 && decades.length > 1 ? decades : inside.length ? inside : [low, high];
  }
  const rough = (high - low) / count;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = power * [1, 2, 5, 10].find((each) => each * power >= rough);
  const found = [];
  for (let number = Math.ceil(low / step); number * step <= high + step * 1e-9; number++) found.push(number * step);
  return found;
}

function scaleOf(values, log, from, to) {
  const known = values.filter((value) => Number.isFinite(value) && (!log || value > 0));
  let low = Math.min(...known), high = Math.max(...known);
  if (!known.length) [low, high] = [log ? 1 : 0, log ? 10 : 1];
  if (low === high) [low, high] = log ? [low / 2, high * 2] : [low - (Math.abs(low) || 1) * 0.05, high + (Math.abs(high) || 1) * 0.05];
  const f = log ? Math.log10 : (value) => value;
  const edge = (f(high) - f(low)) * 0.04;
  const [a, b] = [f(low) - edge, f(high) + edge];
  const scale = (value) => from + ((f(value) - a) / (b - a)) * (to - from);
  scale.ticks = ticks(log ? 10 ** a : a, log ? 10 ** b : b, log);
  scale.draws = (value) => Number.isFinite(value) && (!log || value > 0);
  return scale;
}

class Chart {
  constructor(place, title) {
    this.place = place;
    htmlNode("h3", {}, place, title);
    this.choices = htmlNode("div", { class: "choices" }, place);
    this.board = htmlNode("div", {}, place);
    this.legend = htmlNode("div", { class: "legend", tabindex: 0, role: "group", "aria-label": "Groups" }, place);
    this.tip = htmlNode("div", { class: "tip", hidden: "" }, place);
    this.chosen = new Map();
    this.places = new Map();
  }
  choice(label, options, chosen) {
    const select = htmlNode("select", {}, htmlNode("label", {}, this.choices, `${label} `));
    for (const [value, text] of options) htmlNode("option", { value }, select, text);
    if (chosen !== undefined && options.some(([value]) => value === chosen)) select.value = chosen;
    select.addEventListener("change", () => this.draw());
    return select;
  }
  tick(label) {
    const box = htmlNode("label", {}, this.choices);
    const input = htmlNode("input", { type: "checkbox" }, box);
    box.append(` ${label}`);
    input.addEventListener("change", () => this.draw());
    return input;
  }
  /* which groups are drawn: the first ones, until somebody says otherwise */
  shown(names) {
    for (const name of names) if (!this.places.has(name)) this.places.set(name, this.places.size);
    const drawn = names.filter((name, place) => this.chosen.get(name) ?? place < MOST_SHOWN);
    this.legend.replaceChildren();
    if (names.length > 1) {
      for (const [label, on] of [["all", true], ["none", false]]) {
        htmlNode("button", { type: "button", class: "whole" }, this.legend, label).addEventListener("click", () => {
          for (const name of names) this.chosen.set(name, on);
          this.draw();
        });
      }
    }
    names.forEach((name, place) => {
      const on = drawn.includes(name);
      const button = htmlNode("button", { type: "button", "aria-pressed": String(on) }, this.legend);
      const sample = svgNode("svg", { viewBox: "0 0 24 12", "aria-hidden": "true" }, button);
      svgNode("line", { x1: 0, y1: 6, x2: 24, y2: 6, "stroke-width": 4, ...this.look(name) }, sample);
      button.append(` ${name}`);
      button.addEventListener("click", () => {
        this.chosen.set(name, !on);
        this.draw();
        this.legend.querySelectorAll("button")[place + 2]?.focus();
      });
    });
    return drawn;
  }
  look(name) {
    const place = this.places.get(name);
    return { stroke: COLOURS[place % COLOURS.length], "stroke-dasharray": DASHES[Math.floor(place / COLOURS.length) % DASHES.length] };
  }
  axes(x, y, words, named) {
    const width = onPaper ? 340 : Math.max(this.board.clientWidth, 260), height = Math.min(420, Math.max(260, width * 0.45));
    const longest = named ? Math.max(...named.map((name) => name.length), 1) : 0;
    const turned = named && named.length * Math.min(longest, 24) * 6.5 > width - 90;
    const foot = turned ? Math.min(longest, 26) * 4.2 + 24 : 44;
    const svg = svgNode("svg", { viewBox: `0 0 ${width} ${height + (turned ? foot - 44 : 0)}`, role: "img", "aria-label": words.title });
    const left = turned ? Math.max(64, Math.min(longest, 26) * 4.8 - width / named.length / 2) : 64;
    const [right, top, bottom] = [width - 12, 10, height + (turned ? foot - 44 : 0) - foot];
    const sx = named ? (place) => left + ((place + 0.5) / named.length) * (right - left) : scaleOf(x.values, x.log, left, right);
    const sy = scaleOf(y.values, y.log, bottom, top);
    for (const value of sy.ticks) {
      svgNode("line", { class: "grid", x1: left, x2: right, y1: sy(value), y2: sy(value) }, svg);
      svgNode("text", { x: left - 6, y: sy(value) + 4, "text-anchor": "end" }, svg, short(value));
    }
    svgNode("line", { class: "axis", x1: left, x2: right, y1: bottom, y2: bottom }, svg);
    if (named) {
      const every = Math.ceil(named.length / Math.max(1, Math.floor((right - left) / (turned ? 15 : 30))));
      named.forEach((name, place) => {
        if (place % every) return;
        /* what tells names apart mostly stands at their end */
        const text = name.length > 26 ? `…${name.slice(-25)}` : name;
        const at = sx(place);
        svgNode("text", turned ? { x: at, y: bottom + 12, "text-anchor": "end", transform: `rotate(-40 ${at} ${bottom + 12})` } : { x: at, y: bottom + 17, "text-anchor": "middle" }, svg, text);
      });
    } else {
      const room = Math.max(1, Math.floor((right - left) / 55));
      const every = Math.ceil(sx.ticks.length / room);
      sx.ticks.forEach((value, place) => {
        if (place % every) return;
        svgNode("line", { class: "axis", x1: sx(value), x2: sx(value), y1: bottom, y2: bottom + 4 }, svg);
        svgNode("text", { x: sx(value), y: bottom + 17, "text-anchor": "middle" }, svg, short(value));
      });
      svgNode("text", { x: (left + right) / 2, y: bottom + 36, "text-anchor": "middle" }, svg, words.x);
    }
    const middle = (top + bottom) / 2;
    svgNode("text", { x: 12, y: middle, "text-anchor": "middle", transform: `rotate(-90 12 ${middle})` }, svg, words.y);
    this.board.replaceChildren(svg);
    return { svg, sx, sy };
  }
  /* what is nearest to the pointer tells its name */
  hover(svg, points) {
    const ring = svgNode("circle", { r: 7, fill: "none", stroke: "currentColor", "stroke-width": 2, visibility: "hidden" }, svg);
    svg.addEventListener("pointermove", (event) => {
      const box = svg.getBoundingClientRect(), ratio = svg.viewBox.baseVal.width / box.width;
      const [px, py] = [(event.clientX - box.left) * ratio, (event.clientY - box.top) * ratio];
      let best = null, least = 900;
      for (const point of points) {
        const distance = (point.x - px) ** 2 + (point.y - py) ** 2;
        if (distance < least) [best, least] = [point, distance];
      }
      ring.setAttribute("visibility", best ? "visible" : "hidden");
      this.tip.hidden = !best;
      svg.classList.toggle("hit", Boolean(best?.link));
      this.link = best?.link;
      if (!best) return;
      ring.setAttribute("cx", best.x);
      ring.setAttribute("cy", best.y);
      this.tip.textContent = best.words;
      const around = this.place.getBoundingClientRect();
      const x = box.left - around.left + best.x / ratio, y = box.top - around.top + best.y / ratio;
      this.tip.style.left = `${Math.max(4, Math.min(x + 12, around.width - this.tip.offsetWidth - 6))}px`;
      this.tip.style.top = `${Math.max(4, y - this.tip.offsetHeight - 12)}px`;
    });
    svg.addEventListener("pointerleave", () => { this.tip.hidden = true; ring.setAttribute("visibility", "hidden"); });
    svg.addEventListener("click", () => { if (this.link) location.hash = this.link; });
  }
  empty(words) {
    this.board.replaceChildren();
    htmlNode("p", {}, this.board, words);
  }
}

const cells = document.getElementById("rows-cells");
const charts = [];
let onPaper = false;
const redraw = () => { for (const chart of charts) chart.draw(); };
const mean = (values) => values.reduce((a, b) => a + b, 0) / values.length;

if (cells) {
  const headings = [...cells.tHead.rows[0].cells];
  const columns = headings.map((cell) => ({ key: cell.dataset.key, title: cell.textContent.trim(), numbers: cell.classList.contains("number"), index: cell.cellIndex }));
  const column = (key) => columns.find((each) => each.key === key);
  const numbers = columns.filter((each) => each.numbers && each.key && each.key !== "seed");
  const textual = columns.filter((each) => each.key && !each.numbers && each.key !== "status");
  /* a group's name without what all groups have in common */
  const body = cells.tBodies[0];
  const rowsNow = () => [...body.rows].filter((row) => !row.hidden);
  const number = (row, each) => Number(row.cells[each.index].dataset.sort ?? NaN);
  const differing = textual.filter((each) => new Set([...body.rows].map((row) => row.cells[each.index].textContent)).size > 1);
  const nameOf = (row) => (differing.length ? differing : textual.slice(2, 3)).map((each) => row.cells[each.index].textContent.trim()).join(", ");
  const grouped = (rows, by) => {
    const groups = new Map();
    for (const row of rows) {
      const name = by(row);
      if (!groups.has(name)) groups.set(name, []);
      groups.get(name).push(row);
    }
    return groups;
  };
  const wordsOf = (row) => `${["dataset", "model", "strategy"].map((key) => row.cells[column(key).index].textContent.trim()).join(", ")}, seed ${row.cells[column("seed").index].textContent.trim()}`;
  const linkOf = (row) => row.cells[0].querySelector("a").getAttribute("href");

  const scatter = new Chart(document.getElementById("scatter"), "Cells");
  scatter.y = scatter.choice("Metric", numbers.map((each) => [each.key, each.title]), numbers[0]?.key);
  scatter.x = scatter.choice("against", [["group", "group"], ...numbers.map((each) => [each.key, each.title]), ...differing.map((each) => [each.key, each.title])]);
  scatter.by = scatter.choice("Colour by", [...(differing.length > 1 ? differing : []).map((each) => [each.key, each.title]), ["group", "group"]], differing.length > 1 ? "strategy" : "group");
  scatter.logX = scatter.tick("log x");
  scatter.logY = scatter.tick("log y");
  scatter.draw = function () {
    const metric = column(this.y.value);
    if (!metric) return this.empty("No cell has a number yet.");
    const keyed = (select) => (select.value === "group" ? nameOf : (row) => row.cells[column(select.value).index].textContent.trim());
    const groups = grouped(rowsNow(), keyed(this.by));
    const names = [...groups.keys()];
    const shown = this.shown(names);
    const across = column(this.x.value)?.numbers ? column(this.x.value) : null;
    const rows = shown.flatMap((name) => groups.get(name)).filter((row) => Number.isFinite(number(row, metric)));
    if (!rows.length) return this.empty("Nothing to draw: no row that is switched on has this metric.");
    const places = across ? null : [...grouped(rowsNow().filter((row) => rows.includes(row)), keyed(this.x)).keys()];
    const xOf = across ? (row) => number(row, across) : (row) => places.indexOf(keyed(this.x)(row));
    const drawn = across ? rows.filter((row) => Number.isFinite(xOf(row))) : rows;
    const { svg, sx, sy } = this.axes(
      { values: drawn.map(xOf), log: this.logX.checked }, { values: drawn.map((row) => number(row, metric)), log: this.logY.checked },
      { title: `${metric.title} against ${across ? across.title : this.x.value} of ${drawn.length} cells`, x: across?.title ?? "", y: metric.title }, places);
    const points = [];
    const half = places && places.length > 1 ? Math.min(12, (sx(1) - sx(0)) * 0.35) : 12;
    const draws = (row) => sy.draws(number(row, metric)) && (!across || sx.draws(xOf(row)));
    for (const name of shown) {
      const look = this.look(name);
      const own = groups.get(name).filter((row) => drawn.includes(row) && draws(row));
      for (const [, part] of grouped(own, (row) => (across ? nameOf(row) : String(xOf(row))))) {
        const y = sy(mean(part.map((row) => number(row, metric))));
        const x = sx(mean(part.map(xOf)));
        if (part.length > 1 && Number.isFinite(x) && Number.isFinite(y)) svgNode("line", { x1: x - half, x2: x + half, y1: y, y2: y, "stroke-width": 3, stroke: look.stroke }, svg);
      }
      for (const row of own) {
        const [x, y] = [sx(xOf(row)), sy(number(row, metric))];
        svgNode("circle", { cx: x, cy: y, r: 4, fill: look.stroke, "fill-opacity": 0.65 }, svg);
        const lines = [wordsOf(row), `${metric.title} ${row.cells[metric.index].textContent.trim()}`];
        if (across) lines.push(`${across.title} ${row.cells[across.index].textContent.trim()}`);
        points.push({ x, y, words: lines.join("\n"), link: linkOf(row) });
      }
    }
    this.hover(svg, points);
  };
  charts.push(scatter);

  const histories = new Map();
  const historyOf = (row) => {
    const link = linkOf(row).slice(1);
    if (!histories.has(link)) {
      const table = document.getElementById(link)?.querySelector("table.history");
      const keys = table ? [...table.tHead.rows[0].cells].map((cell) => cell.dataset.key) : [];
      const read = (cell) => (cell.textContent === "-" ? NaN : Number(cell.textContent.replaceAll(",", "")));
      histories.set(link, { keys, rows: table ? [...table.tBodies[0].rows].map((each) => [...each.cells].map(read)) : [] });
    }
    return histories.get(link);
  };
  const titles = new Map();
  for (const heading of all("table.history")[0]?.tHead.rows[0].cells ?? []) titles.set(heading.dataset.key, heading.textContent);
  if (titles.size) {
    const curves = new Chart(document.getElementById("curves"), "Learning curves");
    const metrics = [...titles].filter(([key]) => !["epoch", "stage", "elapsed_seconds"].includes(key));
    curves.y = curves.choice("Metric", metrics, "val_accuracy");
    curves.x = curves.choice("against", [...titles].filter(([key]) => ["epoch", "elapsed_seconds"].includes(key)), "epoch");
    curves.logX = curves.tick("log x");
    curves.logY = curves.tick("log y");
    curves.draw = function () {
      const groups = grouped(rowsNow(), nameOf);
      const names = [...groups.keys()];
      const shown = this.shown(names);
      const lines = [];
      for (const name of shown) {
        for (const row of groups.get(name)) {
          const history = historyOf(row), [i, j] = [history.keys.indexOf(this.x.value), history.keys.indexOf(this.y.value)];
          const points = i < 0 || j < 0 ? [] : history.rows.map((each) => [each[i], each[j]]).filter(([x, y]) => Number.isFinite(x) && Number.isFinite(y));
          if (points.length) lines.push({ name, row, points });
        }
      }
      if (!lines.length) return this.empty("Nothing to draw: no row that is switched on has a history of this metric.");
      const flat = lines.flatMap((line) => line.points);
      const { svg, sx, sy } = this.axes(
        { values: flat.map(([x]) => x), log: this.logX.checked }, { values: flat.map(([, y]) => y), log: this.logY.checked },
        { title: `${titles.get(this.y.value)} by ${titles.get(this.x.value)}, ${lines.length} cells`, x: titles.get(this.x.value), y: titles.get(this.y.value) });
      const path = (points) => points.filter(([x, y]) => sx.draws(x) && sy.draws(y)).map(([x, y]) => `${sx(x).toFixed(1)},${sy(y).toFixed(1)}`).join(" ");
      const hovered = [];
      for (const name of shown) {
        const look = this.look(name), own = lines.filter((line) => line.name === name);
        const byEpoch = this.x.value === "epoch" && own.length > 1;
        for (const line of own) {
          svgNode("polyline", { points: path(line.points), fill: "none", ...look, "stroke-width": byEpoch ? 1 : 2, "stroke-opacity": byEpoch ? 0.35 : 1 }, svg);
          for (const [x, y] of line.points) {
            if (line.points.length === 1 && sx.draws(x) && sy.draws(y)) svgNode("circle", { cx: sx(x), cy: sy(y), r: 3, fill: look.stroke }, svg);
            if (sx.draws(x) && sy.draws(y)) hovered.push({ x: sx(x), y: sy(y), words: `${wordsOf(line.row)}\n${titles.get(this.x.value)} ${short(x)}: ${short(y)}`, link: linkOf(line.row) });
          }
        }
        if (!byEpoch) continue;
        const at = new Map();
        for (const line of own) for (const [x, y] of line.points) at.set(x, [...(at.get(x) ?? []), y]);
        const means = [...at].sort(([a], [b]) => a - b).map(([x, values]) => [x, mean(values), values.length]);
        /* the mean is drawn as far as all seeds go; beyond, those that are left stand for themselves */
        svgNode("polyline", { points: path(means.filter(([, , n]) => n === own.length)), fill: "none", ...look, "stroke-width": 3 }, svg);
        for (const [x, y, n] of means) {
          if (n === own.length && sx.draws(x) && sy.draws(y)) hovered.push({ x: sx(x), y: sy(y), words: `${name}\nmean of ${n} at ${titles.get(this.x.value)} ${short(x)}: ${short(y)}` });
        }
      }
      this.hover(svg, hovered);
    };
    charts.push(curves);
  } else {
    document.getElementById("curves").remove();
  }
  /* ---- marked cells side by side: what differs between them */
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
    for (const each of columns.slice(1)) lines.push([each.title, rows.map((row) => row.cells[each.index].textContent.trim())]);
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
  document.getElementById("explore").hidden = false;
  cells.addEventListener("filtered", () => {
    for (const row of body.rows) document.getElementById(linkOf(row).slice(1)).hidden = row.hidden;
    redraw();
  });
  /* drawn when somebody comes near: a page opens sooner */
  const watch = new IntersectionObserver((entries) => {
    if (entries.some((entry) => entry.isIntersecting)) {
      watch.disconnect();
      redraw();
    }
  }, { rootMargin: "400px" });
  watch.observe(document.getElementById("explore"));
  for (const event of ["beforeprint", "afterprint"]) addEventListener(event, () => { onPaper = event === "beforeprint"; redraw(); });
}
/* once the page is there to be read */
requestAnimationFrame(() => setTimeout(keepNames));
openTarget();
})();
