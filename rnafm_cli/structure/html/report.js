"use strict";
const rnas = JSON.parse(document.getElementById("data").textContent);
const $ = (id) => document.getElementById(id);
const element = (tag, text, parent) => {
  const made = document.createElement(tag);
  if (text !== undefined) made.textContent = text;
  parent?.append(made);
  return made;
};
const percent = (share) => (share === null ? "" : `${(100 * share).toFixed(1)} %`);

// The list: rows are made once, then moved by sorting and hidden by the filter.
const COLUMNS = [
  ["RNA", "id", (rna) => rna.id],
  ["bases", "length", (rna) => rna.length],
  ["pairs", "pairs", (rna) => rna.pairs],
  ["accuracy", "accuracy", (rna) => percent(rna.accuracy)],
  ["family", "family", (rna) => rna.family],
];
const rows = rnas.map((rna, number) => {
  const row = document.createElement("tr");
  COLUMNS.forEach(([, , show], column) => {
    const cell = element(column ? "td" : "th", column ? show(rna) : undefined, row);
    if (column) return;
    cell.scope = "row";
    const link = element("a", rna.id, cell);
    link.href = `#${number + 1}`;
    link.tabIndex = -1;
    link.title = rna.id;
  });
  row.onclick = (event) => { event.preventDefault(); choose(number); };
  return row;
});
const words = rnas.map((rna) => [rna.id, rna.description, rna.family, rna.accession].join("\n").toLowerCase());
let order = rnas.map((_, number) => number), chosen = -1, style = "radial", details = null;

COLUMNS.forEach(([title, key], column) => {
  const head = element("th", undefined, $("columns"));
  head.scope = "col";
  element("button", title, head).onclick = () => {
    const up = head.ariaSort !== "ascending";
    for (const other of $("columns").children) other.ariaSort = null;
    head.ariaSort = up ? "ascending" : "descending";
    const compare = column === 0 || key === "family"
      ? (a, b) => rnas[a][key].localeCompare(rnas[b][key], "en", { numeric: true })
      : (a, b) => rnas[a][key] - rnas[b][key];
    order.sort((a, b) => (up ? compare(a, b) : compare(b, a)) || a - b);
    $("rows").append(...order.map((number) => rows[number]));
  };
});

function filter() {
  const wanted = $("filter").value.trim().toLowerCase();
  let shown = 0;
  rows.forEach((row, number) => { shown += !(row.hidden = !words[number].includes(wanted)); });
  $("shown").textContent = `${shown.toLocaleString("en")} of ${rnas.length.toLocaleString("en")} RNAs`;
}
$("filter").oninput = filter;

// One stop of the tab key for the whole list; arrows go through what is shown of it.
$("rows").onkeydown = (event) => {
  const step = { ArrowDown: 1, ArrowUp: -1, PageDown: 10, PageUp: -10, Home: -Infinity, End: Infinity }[event.key];
  if (!step) return;
  event.preventDefault();
  const shown = order.filter((number) => !rows[number].hidden);
  const at = Math.max(0, Math.min(shown.length - 1, shown.indexOf(chosen) + step));
  choose(shown[at]);
  rows[shown[at]].querySelector("a").focus();
};

async function unpacked(text) {
  const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  return new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"))).json();
}

async function choose(number) {
  if (chosen >= 0) { rows[chosen].removeAttribute("aria-current"); rows[chosen].querySelector("a").tabIndex = -1; }
  chosen = number;
  const rna = rnas[number], link = rows[number].querySelector("a");
  rows[number].setAttribute("aria-current", "true");
  link.tabIndex = 0;
  rows[number].scrollIntoView({ block: "nearest" });
  history.replaceState(null, "", link.href);
  const found = await unpacked(rna.packed);
  if (chosen !== number) return;
  details = found;
  $("name").textContent = rna.id;
  $("description").textContent = rna.description;
  $("facts").replaceChildren();
  const crossing = rna.crossing ? `, ${rna.crossing} in pseudoknots` : "";
  fact("length", `${rna.length.toLocaleString("en")} nt`);
  fact("base pairs", `${rna.pairs}${crossing}`);
  fact("expected accuracy", percent(rna.accuracy));
  if (rna.confidence !== null) fact("mean pair probability", percent(rna.confidence));
  if (rna.family) {
    fact("family", `${rna.family} (${rna.accession})`);
    fact("pairs in its consensus", `${rna.supported} of ${rna.pairs}`);
  }
  if (details.relatives) fact("known 3D structure of a relative", details.relatives.join(", ") || "none");
  $("dbn").textContent = details.dbn.trimEnd();
  $("told").textContent = "";
  draw();
  families();
}

function fact(name, value) {
  const pair = element("div", undefined, $("facts"));
  element("dt", name, pair);
  element("dd", value, pair);
}

function draw() {
  if (!(style in details.drawings)) style = "radial";
  for (const button of $("styles").children) {
    button.ariaPressed = String(button.value === style);
    button.hidden = !(button.value in details.drawings);
  }
  const svg = new DOMParser().parseFromString(details.drawings[style], "image/svg+xml").documentElement;
  $("drawing").replaceChildren(document.adoptNode(svg));
}

function families() {
  $("families").replaceChildren();
  if (details.families.length) element("h3", "Known families", $("families"));
  for (const family of details.families) {
    const told = [`E = ${family.evalue}`, `bases ${family.bases}`, family.type, family.description].filter(Boolean);
    const line = element("p", undefined, $("families"));
    element("b", `${family.name} (${family.accession})`, line);
    line.append(`: ${told.join(", ")}`);
    if (!family.alignment) continue;
    const text = element("pre", family.alignment, $("families"));
    text.tabIndex = 0;
    text.ariaLabel = `Alignment to the consensus of ${family.name}`;
  }
}

for (const [kind, label] of [["radial", "radial"], ["arc", "arcs"], ["dots", "probabilities"], ["contact", "contacts in 3D"], ["distance", "distances"]]) {
  const button = element("button", label, $("styles"));
  button.value = kind;
  button.onclick = () => { style = kind; draw(); };
}
$("full").onclick = () => {
  $("full").ariaPressed = String($("drawing").classList.toggle("full"));
};

function save(text, suffix, type) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], { type }));
  link.download = rnas[chosen].id.replace(/[^\w.+-]+/g, "_").slice(0, 120) + suffix;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}

async function copy(text, what) {
  try {
    await navigator.clipboard.writeText(text);
    $("told").textContent = `${what} copied`;
  } catch {
    getSelection().selectAllChildren($("dbn"));
    $("told").textContent = "the browser did not let the page copy: the text is selected, copy it yourself";
  }
}

// The text ends with the structure and, before it, the sequence: whatever the header holds.
const line = (fromEnd) => details.dbn.trimEnd().split("\n").at(-fromEnd);
for (const [label, act] of [
  ["copy sequence", () => copy(line(2), "sequence")],
  ["copy structure", () => copy(line(1), "structure")],
  ["download .dbn", () => save(details.dbn, ".dbn", "text/plain")],
  ["download .ct", () => save(details.ct, ".ct", "text/plain")],
  ["download .svg", () => save(details.drawings[style], ".svg", "image/svg+xml")],
]) element("button", label, $("files")).onclick = act;

$("rows").append(...rows);
document.body.classList.toggle("alone", rnas.length < 2);
filter();
const first = Number(location.hash.slice(1)) - 1;
if (rnas.length) {
  choose(rnas[first] ? first : 0).then(
    () => { document.body.dataset.ready = String(Math.round(performance.now())); },
    () => { $("name").textContent = "This browser is too old for this page."; },
  );
} else {
  $("name").textContent = "no RNA was folded";
  document.body.dataset.ready = String(Math.round(performance.now()));
}
