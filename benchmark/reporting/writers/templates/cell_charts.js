/* ---- the charts of cells: each takes its place and what the table of cells tells (`cells.js`) */

const mean = (values) => values.reduce((a, b) => a + b, 0) / values.length;

function scatterChart(place, { column, differing, numbers, nameOf, grouped, rowsNow, number, textOf, wordsOf, linkOf }) {
  const scatter = new Chart(place, "Cells");
  scatter.hasMarks = true;
  scatter.y = scatter.choice("Metric", numbers.map((each) => [each.key, each.title]), numbers[0]?.key);
  scatter.x = scatter.choice("against", [["group", "group"], ...numbers.map((each) => [each.key, each.title]), ...differing.map((each) => [each.key, each.title])]);
  scatter.by = scatter.choice("Colour by", [...(differing.length > 1 ? differing : []).map((each) => [each.key, each.title]), ["group", "group"]], differing.length > 1 ? "strategy" : "group");
  scatter.logX = scatter.tick("log x");
  scatter.logY = scatter.tick("log y");
  scatter.draw = function () {
    const metric = column(this.y.value);
    if (!metric) return this.empty("No cell has a number yet.");
    const keyed = (select) => (select.value === "group" ? nameOf : (row) => textOf(row, column(select.value)));
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
      { title: `${metric.title} against ${across ? across.title : this.x.value} of ${drawn.length} cells`, x: across?.axis ?? "", y: metric.axis }, places);
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
        this.mark(name, x, y, svg);
        const lines = [wordsOf(row), `${metric.title} ${textOf(row, metric)}`];
        if (across) lines.push(`${across.title} ${textOf(row, across)}`);
        points.push({ x, y, words: lines.join("\n"), link: linkOf(row) });
      }
    }
    this.hover(svg, points);
  };
  return scatter;
}

function curvesChart(place, { nameOf, grouped, rowsNow, wordsOf, linkOf }) {
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
  /* a single epoch makes no curve */
  const recorded = all("table.history");
  if (!recorded.some((table) => table.tBodies[0].rows.length > 1)) return null;
  const titles = new Map(recorded.flatMap((table) => [...table.tHead.rows[0].cells].map((cell) => [cell.dataset.key, cell.textContent])));
  const curves = new Chart(place, "Learning curves");
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
  return curves;
}

/* settings as axes beside each other, a line for each cell: which settings lead where */
function parallelChart(place, { column, differing, numbers, rowsNow, number, textOf, wordsOf, linkOf }) {
  if (differing.length < 2) return null;
  const parallel = new Chart(place, "Settings and results");
  parallel.y = parallel.choice("Metric", numbers.map((each) => [each.key, each.title]), numbers[0]?.key);
  parallel.draw = function () {
    const metric = column(this.y.value);
    const rows = metric ? rowsNow().filter((row) => Number.isFinite(number(row, metric))) : [];
    if (!rows.length) return this.empty("Nothing to draw: no row that is shown has this metric.");
    const [width, height] = this.size(), [left, right, top, bottom] = [10, width - 56, 44, height - 16];
    const svg = svgNode("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": `${metric.title} by ${differing.map((each) => each.title).join(", ")} of ${rows.length} cells` });
    const step = (right - left) / differing.length, letters = Math.max(4, Math.floor(step / 7.5));
    const sy = scaleOf(rows.map((row) => number(row, metric)), false, bottom, top), [least, most] = sy.known;
    const axes = differing.map((each, index) => {
      const values = [...new Set(rows.map((row) => textOf(row, each)))].sort((a, b) => order(numeric(a), numeric(b)));
      return { each, values, x: left + index * step, y: (value) => bottom - ((values.indexOf(value) + 0.5) / values.length) * (bottom - top) };
    });
    const points = [];
    for (const row of rows) {
      const value = number(row, metric), words = `${wordsOf(row)}\n${metric.title} ${textOf(row, metric)}`;
      const own = [...axes.map((axis) => [axis.x, axis.y(textOf(row, axis.each))]), [right, sy(value)]];
      const share = most > least ? Math.round((100 * (value - least)) / (most - least)) : 50;
      const line = svgNode("polyline", { points: own.map(([x, y]) => `${x.toFixed(1)},${y.toFixed(1)}`).join(" "), fill: "none", stroke: COLOURS[0], "stroke-opacity": 0.6 }, svg);
      line.style.stroke = `color-mix(in oklab, ${COLOURS[1]} ${share}%, ${COLOURS[0]})`;
      for (const [x, y] of own) points.push({ x, y, words, link: linkOf(row), line });
    }
    for (const { each, values, x, y } of axes) {
      svgNode("line", { class: "axis", x1: x, x2: x, y1: top, y2: bottom }, svg);
      svgNode("text", { x, y: 34 }, svg, tail(each.title, letters));
      const every = Math.ceil(values.length / Math.max(1, Math.floor((bottom - top) / 16)));
      for (const value of values.filter((_, index) => index % every === 0)) svgNode("text", { class: "over", x: x + 5, y: y(value) + 4 }, svg, tail(value, letters));
    }
    svgNode("line", { class: "axis", x1: right, x2: right, y1: top, y2: bottom }, svg);
    svgNode("text", { x: width - 2, y: 14, "text-anchor": "end" }, svg, metric.axis);
    for (const value of sy.ticks) svgNode("text", { x: right + 6, y: sy(value) + 4 }, svg, short(value));
    this.board.replaceChildren(svg);
    this.hover(svg, points);
  };
  return parallel;
}
