"use strict";
// A secondary structure as SVG: stems straight, loops on circles, crossing pairs as curves.
const PAIR_COLOURS = { "(": "#3b4252", "[": "#d55e00", "{": "#0072b2", "<": "#cc79a7" };
const BASE_COLOURS = { A: "#f7c46c", C: "#9fcdf0", G: "#f0a987", U: "#8fd3b6" };

function partners(brackets) {
  const close = { ")": "(", "]": "[", "}": "{", ">": "<" };
  const open = {}, pair = new Array(brackets.length).fill(-1), crossing = [];
  [...brackets].forEach((sign, k) => {
    const kind = close[sign] ?? (/[a-z]/.test(sign) ? sign.toUpperCase() : null);
    if (kind) {
      const other = open[kind]?.pop();
      if (other === undefined) return;
      if (kind === "(") { pair[k] = other; pair[other] = k; } else crossing.push([other, k, kind]);
    } else if (/[([{<A-Z]/.test(sign)) (open[sign] ??= []).push(k);
  });
  return { pair, crossing };
}

function places(pair) {
  const n = pair.length, x = new Float64Array(n), y = new Float64Array(n), step = 1;
  // A loop to lay out: bases from..to on a circle that starts at the pair's own two ends.
  const loops = [];
  const circle = (from, to, ax, ay, bx, by, closed) => {
    const units = [];
    for (let k = from; k <= to; k++) {
      units.push(k);
      if (pair[k] > k) { units.push(pair[k]); k = pair[k]; }
    }
    const corners = units.length + 2;
    const R = Math.max(step / (2 * Math.sin(Math.PI / Math.max(corners, 3))), 0.5001 * step);
    const mx = (ax + bx) / 2, my = (ay + by) / 2, gap = Math.hypot(bx - ax, by - ay) || 1;
    // Outward is to the left of the way from a to b.
    const ox = -(by - ay) / gap, oy = (bx - ax) / gap, rise = Math.sqrt(Math.max(R * R - (gap * gap) / 4, 0));
    const cx = mx + ox * rise, cy = my + oy * rise;
    const start = Math.atan2(ay - cy, ax - cx), turn = (-2 * Math.PI) / corners;
    units.forEach((k, u) => {
      x[k] = cx + R * Math.cos(start + turn * (u + 1));
      y[k] = cy + R * Math.sin(start + turn * (u + 1));
    });
    for (const k of units) if (pair[k] > k) loops.push(k);
  };
  circle(0, n - 1, 0, 0, step, 0);
  while (loops.length) {
    let i = loops.pop(), j = pair[i];
    const gap = Math.hypot(x[j] - x[i], y[j] - y[i]) || 1;
    const ox = -(y[j] - y[i]) / gap, oy = (x[j] - x[i]) / gap;
    while (pair[i + 1] === j - 1 && i + 1 < j - 1) {
      x[i + 1] = x[i] + ox * step; y[i + 1] = y[i] + oy * step;
      x[j - 1] = x[j] + ox * step; y[j - 1] = y[j] + oy * step;
      i++; j--;
    }
    if (i + 1 < j) circle(i + 1, j - 1, x[i], y[i], x[j], y[j]);
  }
  return { x, y };
}

function drawing(sequence, brackets) {
  const { pair, crossing } = partners(brackets), { x, y } = places(pair), n = pair.length;
  const make = (tag, attributes, parent) => {
    const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
    for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
    parent?.append(made);
    return made;
  };
  const left = Math.min(...x) - 1, top = Math.min(...y) - 1;
  const wide = Math.max(...x) + 1 - left, high = Math.max(...y) + 1 - top;
  const svg = make("svg", { viewBox: `${left} ${top} ${wide} ${high}`, role: "img", "aria-label": "secondary structure" });
  const thin = Math.max(0.12, Math.max(wide, high) / 700);
  let chain = "";
  for (let k = 0; k < n; k++) chain += `${k ? "L" : "M"}${x[k].toFixed(2)} ${y[k].toFixed(2)}`;
  make("path", { d: chain, fill: "none", stroke: "#c3c7ce", "stroke-width": thin }, svg);
  for (let k = 0; k < n; k++) {
    if (pair[k] > k) make("line", { x1: x[k], y1: y[k], x2: x[pair[k]], y2: y[pair[k]], stroke: PAIR_COLOURS["("], "stroke-width": 1.6 * thin }, svg);
  }
  const cx = left + wide / 2, cy = top + high / 2;
  for (const [i, j, kind] of crossing) {
    const d = `M${x[i]} ${y[i]}Q${(x[i] + x[j] + cx) / 3} ${(y[i] + y[j] + cy) / 3} ${x[j]} ${y[j]}`;
    make("path", { d, fill: "none", stroke: PAIR_COLOURS[kind] ?? "#009e73", "stroke-width": 1.6 * thin, class: "crossing" }, svg);
  }
  for (let k = 0; k < n; k++) {
    const disc = make("circle", { cx: x[k], cy: y[k], r: 0.42, fill: BASE_COLOURS[sequence[k]] ?? "#e2e4e8" }, svg);
    make("title", {}, disc).textContent = `${sequence[k]} ${k + 1}`;
    if (n <= 150) {
      const letter = make("text", { x: x[k], y: y[k] + 0.22, "font-size": 0.62, "text-anchor": "middle", fill: "#1f2430" }, svg);
      letter.textContent = sequence[k];
    }
  }
  return svg;
}
