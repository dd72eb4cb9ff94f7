/* ---- a chart: its choices, axes, legend, and what is said of the mark that is pointed at */

const COLOURS = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#8C8C8C"];
const DASHES = ["", "6 3", "2 3", "8 3 2 3"];
/* squares, triangles, diamonds, around their middle */
const SHAPES = ["m-4 -4h8v8h-8", "m0 -5l5 9h-10", "m0 -6l5 6l-5 6l-5 -6"];
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

/* what tells names apart mostly stands at their end */
const tail = (name, letters) => (name.length > letters ? `…${name.slice(1 - letters)}` : name);

function ticks(low, high, log, whole, count = 6) {
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
  /* there is no epoch 1.5 */
  const step = Math.max(power * [1, 2, 5, 10].find((each) => each * power >= rough), whole ? 1 : 0);
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
  scale.known = [low, high];
  scale.ticks = ticks(log ? 10 ** a : a, log ? 10 ** b : b, log, known.every(Number.isInteger));
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
      if (this.hasMarks) this.mark(name, 12, 6, sample);
      else svgNode("line", { x1: 0, y1: 6, x2: 24, y2: 6, "stroke-width": 4, ...this.look(name) }, sample);
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
  /* groups of one colour differ in the shape of their marks */
  mark(name, x, y, parent) {
    const place = this.places.get(name), shape = Math.floor(place / COLOURS.length) % (SHAPES.length + 1);
    const look = { class: "mark", fill: COLOURS[place % COLOURS.length], "fill-opacity": 0.65 };
    if (shape === 0) return svgNode("circle", { cx: x, cy: y, r: 4, ...look }, parent);
    return svgNode("path", { d: `M${x} ${y}${SHAPES[shape - 1]}z`, ...look }, parent);
  }
  size() {
    const width = onPaper ? 340 : Math.max(this.board.clientWidth, 260);
    return [width, Math.min(420, Math.max(260, width * 0.45))];
  }
  axes(x, y, words, named) {
    const [width, height] = this.size();
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
      const every = Math.ceil(named.length / Math.max(1, Math.floor((right - left) / (turned ? 20 : 30))));
      named.forEach((name, place) => {
        if (place % every) return;
        const at = sx(place), text = tail(name, 26);
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
      this.light(best?.line);
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
    svg.addEventListener("pointerleave", () => { this.tip.hidden = true; this.light(); ring.setAttribute("visibility", "hidden"); });
    svg.addEventListener("click", () => { if (this.link) location.hash = this.link; });
  }
  /* the whole line of a mark stands out */
  light(line) {
    this.lit?.classList.remove("lit");
    this.lit = line;
    line?.classList.add("lit");
  }
  empty(words) {
    this.board.replaceChildren();
    htmlNode("p", {}, this.board, words);
  }
}
