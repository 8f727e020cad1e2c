"use strict";
// Charts as SVG in viewBox units. Text from the data only ever becomes text nodes.
const COLOURS = ["a", "b", "c", "d", "e", "f"].map((name) => `var(--${name})`);
const tip = document.getElementById("tip");

function make(name, attributes, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes || {})) element.setAttribute(key, value);
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

function svg(name, attributes, text) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes || {})) element.setAttribute(key, value);
  if (text !== undefined) element.textContent = text;
  return element;
}

function number(x) {
  if (x === null || x === undefined || !Number.isFinite(x)) return "–";
  if (x === 0) return "0";
  const size = Math.abs(x);
  if (size >= 1e5 || size < 1e-3) return x.toExponential(2).replace("e+", "e");
  if (Number.isInteger(x)) return String(x);
  return x.toFixed(size >= 100 ? 1 : size >= 10 ? 2 : 4);
}

// A tick: as few digits as tell it.
const tick = (x) => (Math.abs(x) >= 1e5 || (x !== 0 && Math.abs(x) < 1e-3) ? x.toExponential().replace("e+", "e") : String(x));
const narrow = window.matchMedia("(max-width: 760px)");

function showTip(event, text) {
  tip.textContent = text;
  tip.hidden = false;
  const x = Math.min(event.clientX + 14, window.innerWidth - tip.offsetWidth - 8);
  const y = event.clientY + 18 + tip.offsetHeight > window.innerHeight ? event.clientY - tip.offsetHeight - 12
                                                                       : event.clientY + 18;
  tip.style.left = `${Math.max(8, x)}px`;
  tip.style.top = `${y}px`;
}

function hover(element, text) {
  element.addEventListener("pointermove", (event) => showTip(event, text));
  element.addEventListener("pointerleave", () => { tip.hidden = true; });
}

// About `count` round values that span [low, high].
function ticks(low, high, count) {
  const raw = (high - low) / count || 1;
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 5, 10].map((k) => k * power).find((k) => k >= raw);
  const values = [];
  for (let v = Math.ceil(low / step - 1e-9) * step; v <= high + step * 1e-9; v += step) values.push(+v.toPrecision(12));
  return values;
}

// A scale from data to pixels; the 1 % largest values do not set it.
function extent(series) {
  const all = series.flatMap((s) => s.y.filter(Number.isFinite)).sort((p, q) => p - q);
  if (!all.length) return [0, 1];
  const high = all.length > 200 ? all[Math.floor(all.length * 0.995)] : all[all.length - 1];
  const margin = (high - all[0]) * 0.06 || Math.abs(high) * 0.1 || 1;
  return [all[0] >= 0 ? Math.max(0, all[0] - margin) : all[0] - margin, high + margin];
}

function path(xs, ys, sx, sy) {
  let text = "", open = false;
  xs.forEach((x, i) => {
    if (!Number.isFinite(ys[i])) { open = false; return; }
    text += `${open ? "L" : "M"}${sx(x).toFixed(1)} ${sy(ys[i]).toFixed(1)}`;
    open = true;
  });
  return text;
}

function axes(chart, box, sx, sy, [x0, x1], [y0, y1]) {
  for (const v of ticks(y0, y1, 4)) {
    chart.append(svg("line", {class: "gridline", x1: box.left, x2: box.right, y1: sy(v), y2: sy(v)}));
    chart.append(svg("text", {x: box.left - 8, y: sy(v) + 4, "text-anchor": "end"}, tick(v)));
  }
  for (const v of ticks(x0, x1, 6).filter((t) => x1 < 2 || Number.isInteger(t)))
    chart.append(svg("text", {x: sx(v), y: box.bottom + 18, "text-anchor": "middle"}, tick(v)));
}

// series: [{name, x, y, colour, faint, dots}]; marks: [{x, text}] are dashed vertical lines.
function lineChart(series, {wide = false, marks = [], xName = "step", xRange, yRange} = {}) {
  const large = wide && !narrow.matches;
  const box = {left: 52, right: (large ? 1080 : 520) - 8, top: 8, bottom: (large ? 300 : 210)};
  const chart = svg("svg", {viewBox: `0 0 ${box.right + 8} ${box.bottom + 24}`, role: "img"});
  const xs = series.flatMap((s) => [s.x[0], s.x[s.x.length - 1]]).filter(Number.isFinite);
  const [x0, x1] = xRange || [Math.min(...xs), Math.max(...xs)], [y0, y1] = yRange || extent(series);
  const sx = (x) => box.left + (x - x0) / (x1 - x0 || 1) * (box.right - box.left);
  const sy = (y) => Math.max(box.top, box.bottom - (y - y0) / (y1 - y0 || 1) * (box.bottom - box.top));
  axes(chart, box, sx, sy, [x0, x1], [y0, y1]);
  for (const mark of marks) {
    const line = svg("line", {class: "event", x1: sx(mark.x), x2: sx(mark.x), y1: box.top, y2: box.bottom});
    line.append(svg("title", {}, mark.text));
    chart.append(line);
  }
  for (const s of series) {
    chart.append(svg("path", {class: s.faint ? "curve raw" : "curve", stroke: s.colour, d: path(s.x, s.y, sx, sy)}));
    if (s.dots) s.x.forEach((x, i) => Number.isFinite(s.y[i]) && chart.append(svg("circle", {cx: sx(x), cy: sy(s.y[i]), r: 3.5, fill: s.colour})));
  }
  follow(chart, series, marks, xName, box, sx, x0, x1);
  return chart;
}

// A line under the pointer, and the values of the nearest point of each series.
function follow(chart, series, marks, xName, box, sx, x0, x1) {
  const cursor = svg("line", {class: "cursor", y1: box.top, y2: box.bottom, visibility: "hidden"});
  const plate = svg("rect", {class: "plate", x: box.left, y: box.top, width: box.right - box.left, height: box.bottom - box.top});
  plate.addEventListener("pointermove", (event) => {
    const area = plate.getBoundingClientRect();
    const at = x0 + (event.clientX - area.left) / area.width * (x1 - x0);
    const near = (xs) => xs.reduce((best, x, i) => (Math.abs(x - at) < Math.abs(xs[best] - at) ? i : best), 0);
    const first = series.find((s) => s.x.length);
    if (!first) return;
    const x = first.x[near(first.x)];
    cursor.setAttribute("x1", sx(x));
    cursor.setAttribute("x2", sx(x));
    cursor.setAttribute("visibility", "visible");
    const reach = (x1 - x0) / 60;
    const lines = series.map((s) => {
      const i = near(s.x);
      return `${s.name}  ${number(s.y[i])}${s.x[i] !== x ? `  (${xName} ${number(s.x[i])})` : ""}`;
    });
    lines.push(...marks.filter((m) => Math.abs(m.x - at) < reach).map((m) => m.text));
    showTip(event, `${xName} ${number(x)}\n${lines.join("\n")}`);
  });
  plate.addEventListener("pointerleave", () => { tip.hidden = true; cursor.setAttribute("visibility", "hidden"); });
  chart.append(cursor, plate);
}

// A row a layer, a stretch between two events a cell: its rank as depth of colour.
function rankMap(events, lastStep) {
  const layers = [...new Set(events.flatMap((e) => Object.keys(e.ranks)))];
  layers.sort((p, q) => p.localeCompare(q, undefined, {numeric: true}));
  const cell = Math.max(6, Math.min(16, 360 / layers.length));
  const width = narrow.matches ? 520 : 1080, left = narrow.matches ? 130 : 210, right = width - 8;
  const letters = narrow.matches ? 19 : 34;
  const most = Math.max(1, ...events.flatMap((e) => Object.values(e.ranks)));
  const chart = svg("svg", {viewBox: `0 0 ${width} ${layers.length * cell + 24}`, role: "img"});
  const sx = (step) => left + step / Math.max(1, lastStep) * (right - left);
  const every = Math.ceil(12 / cell);
  layers.forEach((layer, row) => {
    if (row % every === 0) {
      const name = layer.length > letters ? `…${layer.slice(1 - letters)}` : layer;
      chart.append(svg("text", {x: left - 8, y: (row + 0.5) * cell + 4, "text-anchor": "end"}, name));
    }
    events.forEach((event, i) => {
      const until = i + 1 < events.length ? events[i + 1].step : lastStep, rank = event.ranks[layer];
      if (rank === undefined || until <= event.step) return;
      const rect = svg("rect", {x: sx(event.step), y: row * cell, width: sx(until) - sx(event.step) + 0.3, height: cell - 1,
                                fill: `rgba(var(--heat), ${(0.06 + 0.94 * rank / most).toFixed(3)})`});
      hover(rect, `${layer}\nsteps ${event.step}–${until}: rank ${rank}`);
      chart.append(rect);
    });
  });
  for (const v of ticks(0, lastStep, 6)) chart.append(svg("text", {x: sx(v), y: layers.length * cell + 18, "text-anchor": "middle"}, tick(v)));
  return chart;
}
