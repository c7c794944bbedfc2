"use strict";
(() => {
const data = JSON.parse(document.getElementById("data").textContent);
const $ = (id) => document.getElementById(id);
const numbers = (text, Kind) => {
  const raw = atob(text), bytes = new Uint8Array(raw.length);
  for (let k = 0; k < raw.length; k++) bytes[k] = raw.charCodeAt(k);
  return new Kind(bytes.buffer);
};
const n = data.count;
const X = numbers(data.x, Float32Array), Y = numbers(data.y, Float32Array);
const lengths = numbers(data.lengths, Uint32Array);
const ids = data.ids.split("\n"), starts = data.starts.split("\n");
const structures = data.structures ?? [];
const views = data.views.map((view) => view.groups
  ? { ...view, index: numbers(view.index, Uint16Array), on: new Uint8Array(view.groups.length).fill(1) }
  : { ...view, value: numbers(view.value, Float32Array) });
const front = $("names"), points = $("points"), pen = front.getContext("2d"), ink = points.getContext("2d");
let view = views[0], colour = new Uint32Array(n), visible = new Uint8Array(n).fill(1);
let width = 1, height = 1, ratio = 1, picture = null, pixels = null;
let scale = 1, midX = 0, midY = 0, home = null, clicked = -1, found = [], chosen = new Set();
let lassoing = false, loop = null, waiting = false;

// A fixed shuffle: groups written one after the other would cover each other.
const order = new Uint32Array(n);
for (let k = 0, state = 1; k < n; k++) {
  state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
  const other = Math.floor((state / 4294967296) * (k + 1));
  order[k] = order[other];
  order[other] = k;
}

const abgr = (hex) => {
  const v = parseInt(hex.slice(1), 16);
  return (0xff000000 | ((v & 255) << 16) | (v & 0xff00) | (v >> 16)) >>> 0;
};
const GREY = "#c3c7ce";

// Points by cell of a grid, for the pointer.
const bounds = [Infinity, -Infinity, Infinity, -Infinity];
for (let k = 0; k < n; k++) {
  bounds[0] = Math.min(bounds[0], X[k]); bounds[1] = Math.max(bounds[1], X[k]);
  bounds[2] = Math.min(bounds[2], Y[k]); bounds[3] = Math.max(bounds[3], Y[k]);
}
const spanX = Math.max(bounds[1] - bounds[0], 1e-6), spanY = Math.max(bounds[3] - bounds[2], 1e-6);
const GRID = Math.max(1, Math.min(300, Math.round(Math.sqrt(n))));
const column = (x) => Math.max(0, Math.min(GRID - 1, Math.floor(((x - bounds[0]) / spanX) * GRID)));
const line = (y) => Math.max(0, Math.min(GRID - 1, Math.floor(((y - bounds[2]) / spanY) * GRID)));
const first = new Uint32Array(GRID * GRID + 1), sorted = new Uint32Array(n);
for (let k = 0; k < n; k++) first[line(Y[k]) * GRID + column(X[k]) + 1]++;
for (let c = 0; c < GRID * GRID; c++) first[c + 1] += first[c];
const next = first.slice();
for (let k = 0; k < n; k++) sorted[next[line(Y[k]) * GRID + column(X[k])]++] = k;

const toX = (x) => (x - midX) * scale + width / 2, toY = (y) => height / 2 - (y - midY) * scale;
const fromX = (px) => (px - width / 2) / scale + midX, fromY = (py) => (height / 2 - py) / scale + midY;

function nearest(px, py, reach) {
  let best = -1, least = reach * reach;
  const c0 = column(fromX(px - reach)), c1 = column(fromX(px + reach));
  const r0 = line(fromY(py + reach)), r1 = line(fromY(py - reach));
  for (let r = r0; r <= r1; r++) for (let c = c0; c <= c1; c++) {
    for (let s = first[r * GRID + c]; s < first[r * GRID + c + 1]; s++) {
      const k = sorted[s];
      if (!visible[k]) continue;
      const dx = toX(X[k]) - px, dy = toY(Y[k]) - py, far = dx * dx + dy * dy;
      if (far < least) { least = far; best = k; }
    }
  }
  return best;
}

function recolour() {
  if (view.groups) {
    const table = view.groups.map((group) => abgr(group.colour)).concat(abgr(GREY));
    for (let k = 0; k < n; k++) {
      const g = view.index[k] === 65535 ? view.groups.length : view.index[k];
      colour[k] = table[g];
      visible[k] = g === view.groups.length ? 1 : view.on[g];
    }
  } else {
    const table = view.ramp.map(abgr), top = table.length - 1;
    const [low, high] = view.log ? [Math.log(view.low), Math.log(view.high)] : [view.low, view.high];
    for (let k = 0; k < n; k++) {
      const v = view.log ? Math.log(view.value[k]) : view.value[k];
      const t = Math.max(0, Math.min(1, (v - low) / (high - low || 1)));
      colour[k] = Number.isFinite(v) ? table[Math.round(t * top)] : abgr(GREY);
      visible[k] = 1;
    }
  }
  let shown = 0;
  for (let k = 0; k < n; k++) shown += visible[k];
  $("shown").textContent = `${shown.toLocaleString("en")} of ${n.toLocaleString("en")} shown`;
}

function radius() {
  const usual = Math.max(1.2, Math.min(4, 240 / Math.sqrt(n)));
  return Math.min(7, usual * Math.max(1, Math.pow(scale / home.scale, 0.4)));
}

function paint() {
  waiting = false;
  pixels.fill(0xffffffff);
  const r = radius() * ratio, reach = Math.floor(r), W = points.width, H = points.height;
  const offsets = [];
  for (let dy = -reach; dy <= reach; dy++) for (let dx = -reach; dx <= reach; dx++) {
    if (dx * dx + dy * dy <= r * r + 0.3) offsets.push([dx, dy]);
  }
  const a = scale * ratio, b = (width / 2 - midX * scale) * ratio, d = (height / 2 + midY * scale) * ratio;
  for (let s = 0; s < n; s++) {
    const k = order[s];
    if (!visible[k]) continue;
    const px = Math.round(X[k] * a + b), py = Math.round(d - Y[k] * a);
    if (px < -reach || py < -reach || px >= W + reach || py >= H + reach) continue;
    for (const [dx, dy] of offsets) {
      const x = px + dx, y = py + dy;
      if (x >= 0 && y >= 0 && x < W && y < H) pixels[y * W + x] = colour[k];
    }
  }
  ink.putImageData(picture, 0, 0);
  overlay();
}

function overlay() {
  pen.setTransform(ratio, 0, 0, ratio, 0, 0);
  pen.clearRect(0, 0, width, height);
  const ring = (k, size, line, stroke) => {
    pen.beginPath();
    pen.arc(toX(X[k]), toY(Y[k]), size, 0, 2 * Math.PI);
    pen.lineWidth = line;
    pen.strokeStyle = stroke;
    pen.stroke();
  };
  for (const k of chosen) ring(k, radius() + 1, 1, "#1f2430");
  for (const k of found) ring(k, 7, 2, "#d55e00");
  if (clicked >= 0) ring(clicked, 9, 2.5, "#1f2430");
  if (view.groups) names();
  if (loop) {
    pen.beginPath();
    loop.forEach(([x, y], k) => (k ? pen.lineTo(x, y) : pen.moveTo(x, y)));
    pen.closePath();
    pen.fillStyle = "rgba(0, 114, 178, 0.12)";
    pen.fill();
    pen.lineWidth = 1.5;
    pen.strokeStyle = "#0072b2";
    pen.stroke();
  }
}

function names() {
  pen.font = "600 12px system-ui, Arial, sans-serif";
  pen.textAlign = "center";
  pen.textBaseline = "middle";
  pen.lineJoin = "round";
  const boxes = [];
  view.groups.forEach((group, g) => {
    if (!view.on[g] || !group.place) return;
    const x = toX(group.place[0]), y = toY(group.place[1]), half = pen.measureText(group.name).width / 2 + 3;
    if (x < 0 || y < 0 || x > width || y > height) return;
    if (boxes.some(([u, v, h]) => Math.abs(u - x) < half + h && Math.abs(v - y) < 15)) return;
    boxes.push([x, y, half]);
    pen.lineWidth = 3.5;
    pen.strokeStyle = "rgba(255, 255, 255, 0.92)";
    pen.strokeText(group.name.replaceAll("_", " "), x, y);
    pen.fillStyle = "#1f2430";
    pen.fillText(group.name.replaceAll("_", " "), x, y);
  });
}

function redraw() {
  if (!waiting) { waiting = true; requestAnimationFrame(paint); }
}

function resize() {
  const box = $("stage").getBoundingClientRect();
  ratio = Math.min(2, window.devicePixelRatio || 1);
  width = Math.max(1, box.width); height = Math.max(1, box.height);
  for (const canvas of [points, front]) {
    canvas.width = Math.round(width * ratio);
    canvas.height = Math.round(height * ratio);
  }
  picture = ink.createImageData(points.width, points.height);
  pixels = new Uint32Array(picture.data.buffer);
  const fit = { scale: 0.92 * Math.min(width / spanX, height / spanY), x: (bounds[0] + bounds[1]) / 2, y: (bounds[2] + bounds[3]) / 2 };
  if (!home) { scale = fit.scale; midX = fit.x; midY = fit.y; }
  home = fit;
}

function go(k) {
  midX = X[k]; midY = Y[k];
  scale = Math.max(scale, home.scale * 6);
  select(k);
}

function select(k) {
  clicked = k;
  details(k);
  redraw();
}

const element = (tag, text, parent) => {
  const made = document.createElement(tag);
  if (text !== undefined) made.textContent = text;
  if (parent) parent.append(made);
  return made;
};
const facts = (k) => views.filter((v) => v.key !== "length").map((v) => {
  if (!v.groups) return [v.name, Number.isFinite(v.value[k]) ? v.value[k].toPrecision(3) : "unknown"];
  return [v.name, v.index[k] === 65535 ? "unknown" : v.groups[v.index[k]].name];
}).concat([["length", lengths[k] ? `${lengths[k].toLocaleString("en")} nt` : "unknown"]]);

function tip(k, px, py) {
  const box = $("tip");
  box.hidden = k < 0;
  if (k < 0) return;
  box.replaceChildren();
  element("b", ids[k], box);
  for (const [name, value] of facts(k)) element("div", `${name}: ${value}`, box);
  if (starts[k]) element("div", starts[k] + (lengths[k] > starts[k].length ? "…" : ""), box).className = "bases";
  box.style.left = `${Math.min(px + 14, width - box.offsetWidth - 8)}px`;
  box.style.top = `${Math.min(py + 14, height - box.offsetHeight - 8)}px`;
}

async function unpacked(text) {
  return new Response(new Blob([numbers(text, Uint8Array)]).stream().pipeThrough(new DecompressionStream("deflate"))).json();
}

function details(k) {
  const box = $("details");
  box.replaceChildren();
  if (k < 0) return;
  element("h2", ids[k], box);
  const list = element("dl", undefined, box);
  for (const [name, value] of facts(k)) { element("dt", name, list); element("dd", value, list); }
  const picture = element("div", undefined, box);
  if (starts[k]) element("div", starts[k] + (lengths[k] > starts[k].length ? "…" : ""), box).className = "bases";
  if (structures[k]) unpacked(structures[k]).then(({ brackets, drawing }) => {
    element("div", brackets, box).className = "bases";
    picture.append(document.adoptNode(new DOMParser().parseFromString(drawing, "image/svg+xml").documentElement));
  });
}

function legend() {
  const list = $("legend");
  list.replaceChildren();
  $("switches").hidden = !view.groups;
  $("scale").hidden = !!view.groups;
  if (!view.groups) {
    const ramp = $("ramp").getContext("2d");
    view.ramp.forEach((c, k) => { ramp.fillStyle = c; ramp.fillRect((k * 200) / view.ramp.length, 0, 200 / view.ramp.length + 1, 10); });
    $("low").textContent = view.low.toPrecision(3).replace(/\.0+$/, "");
    $("high").textContent = view.high.toPrecision(3).replace(/\.0+$/, "");
    return;
  }
  view.groups.forEach((group, g) => {
    const item = element("li", undefined, list);
    item.classList.toggle("off", !view.on[g]);
    item.title = "click: show or hide; double click: this one alone";
    element("i", undefined, item).style.background = group.colour;
    element("span", group.name, item);
    element("em", group.size.toLocaleString("en"), item);
    item.onclick = () => { view.on[g] ^= 1; item.classList.toggle("off", !view.on[g]); recolour(); redraw(); };
    item.ondblclick = () => { view.on.fill(0); view.on[g] = 1; legend(); recolour(); redraw(); };
  });
}

function search(text) {
  const wanted = text.trim().toLowerCase(), list = $("hits");
  list.replaceChildren();
  found = [];
  let total = 0;
  if (wanted) for (let k = 0; k < n; k++) {
    if (ids[k].toLowerCase().includes(wanted)) { total++; if (found.length < 200) found.push(k); }
  }
  // An id that is the text itself comes before those that hold it.
  found.sort((a, b) => ids[a].length - ids[b].length);
  for (const k of found.slice(0, 30)) {
    const item = element("li", ids[k], list);
    item.onclick = () => go(k);
  }
  if (wanted) element("li", total > 30 ? `${total.toLocaleString("en")} found` : total ? "" : "none found", list).className = "more";
  redraw();
}

function inside(x, y, corners) {
  let odd = false;
  for (let a = 0, b = corners.length - 1; a < corners.length; b = a++) {
    const [x1, y1] = corners[a], [x2, y2] = corners[b];
    if ((y1 > y) !== (y2 > y) && x < ((x2 - x1) * (y - y1)) / (y2 - y1) + x1) odd = !odd;
  }
  return odd;
}

function choose() {
  for (let k = 0; k < n; k++) if (visible[k] && inside(toX(X[k]), toY(Y[k]), loop)) chosen.add(k);
  loop = null;
  tell();
  redraw();
}

function tell() {
  $("chosen").textContent = chosen.size ? `${chosen.size.toLocaleString("en")} chosen` : "";
  $("save").disabled = $("clear").disabled = !chosen.size;
}

$("save").onclick = () => {
  const text = [...chosen].sort((a, b) => a - b).map((k) => ids[k]).join("\n") + "\n";
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], { type: "text/plain" }));
  link.download = "selected_ids.txt";
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
};
$("clear").onclick = () => { chosen.clear(); tell(); redraw(); };
$("lasso").onclick = () => {
  lassoing = !lassoing;
  $("lasso").setAttribute("aria-pressed", String(lassoing));
  front.classList.toggle("lasso", lassoing);
};
$("all").onclick = () => { view.on.fill(1); legend(); recolour(); redraw(); };
$("none").onclick = () => { view.on.fill(0); legend(); recolour(); redraw(); };
$("search").oninput = (event) => search(event.target.value);
$("search").onkeydown = (event) => { if (event.key === "Enter" && found.length) go(found[0]); };
views.forEach((v, k) => { element("option", v.name, $("view")).value = k; });
$("view").onchange = (event) => { view = views[event.target.value]; legend(); recolour(); redraw(); };

let held = null;
front.onpointerdown = (event) => {
  front.setPointerCapture(event.pointerId);
  held = { x: event.offsetX, y: event.offsetY, moved: false };
  if (lassoing) loop = [[event.offsetX, event.offsetY]];
};
front.onpointermove = (event) => {
  const { offsetX: x, offsetY: y } = event;
  if (!held) {
    tip(nearest(x, y, 8), x, y);
    return;
  }
  if (Math.hypot(x - held.x, y - held.y) > 3) held.moved = true;
  if (loop) {
    loop.push([x, y]);
  } else if (held.moved) {
    front.classList.add("busy");
    midX -= (x - (held.lastX ?? held.x)) / scale;
    midY += (y - (held.lastY ?? held.y)) / scale;
    held.lastX = x; held.lastY = y;
    tip(-1);
  }
  redraw();
};
front.onpointerup = (event) => {
  front.classList.remove("busy");
  if (loop && held && held.moved) choose();
  else if (held && !held.moved) { loop = null; select(nearest(event.offsetX, event.offsetY, 8)); }
  held = null;
};
front.onpointerleave = () => tip(-1);
front.ondblclick = () => { if (!lassoing) { scale = home.scale; midX = home.x; midY = home.y; redraw(); } };
front.addEventListener("wheel", (event) => {
  event.preventDefault();
  const x = fromX(event.offsetX), y = fromY(event.offsetY);
  const step = Math.exp(-event.deltaY * (event.deltaMode ? 0.05 : 0.0015));
  scale = Math.max(home.scale * 0.3, Math.min(home.scale * 3000, scale * step));
  midX = x - (event.offsetX - width / 2) / scale;
  midY = y - (height / 2 - event.offsetY) / scale;
  tip(-1);
  redraw();
}, { passive: false });
window.addEventListener("resize", () => { resize(); redraw(); });

resize();
recolour();
legend();
paint();
document.body.dataset.ready = Math.round(performance.now());
})();
