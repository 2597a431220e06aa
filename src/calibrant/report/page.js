// What a page adds for readers whose browser runs scripts: sorting and CSV of tables, figures as SVG files, the
// threshold and its costs, and a viewer of images. Everything it tells is computed from what the page holds.
"use strict";
(() => {
const data = JSON.parse(document.getElementById("page-data").textContent);
const $ = id => document.getElementById(id);
const all = (selector, root = document) => [...root.querySelectorAll(selector)];
const make = (tag, attributes = {}, text = "") => {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  if (text !== "") element.textContent = text;
  return element;
};
const save = (name, text, type) => {
  const link = make("a", { download: name, href: URL.createObjectURL(new Blob([text], { type })) });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
};
const fileName = words => words.toLowerCase().replace(/[^\p{L}\p{N}.]+/gu, "-").replace(/^-|-$/g, "");
const fill = (select, options) => {
  select.replaceChildren(...options.map(([value, text]) => make("option", { value }, text)));
};
const percent = (share, digits = 1) => Number.isFinite(share) ? (100 * share).toFixed(digits) + "\u00a0%" : "–";

// Tables -------------------------------------------------------------------------------------------------------------

// The headings above each column, from the table's whole head: cells may span columns and rows.
const headingsOf = table => {
  const rows = [...table.tHead.rows], grid = rows.map(() => []);
  rows.forEach((row, y) => {
    let x = 0;
    for (const cell of row.cells) {
      while (grid[y][x]) x++;
      for (let dy = 0; dy < cell.rowSpan; dy++)
        for (let dx = 0; dx < cell.colSpan; dx++) grid[y + dy][x + dx] = cell;
      x += cell.colSpan;
    }
  });
  return grid[0].map((_, x) => [...new Set(grid.map(row => row[x]))]);
};
const shown = cell => {
  const copy = cell.cloneNode(true);
  all("small, .here, .bar, button", copy).forEach(each => each.remove());
  return copy.textContent.trim();
};
const valueOf = cell => {
  if (cell.dataset.value !== undefined) return Number(cell.dataset.value);
  const text = shown(cell).replace(/−/g, "-").replace(/[\u00a0, ]/g, "").replace(/%$/, "");
  return text !== "" && Number.isFinite(Number(text)) ? Number(text) : text === "–" ? NaN : shown(cell);
};
const sortBy = (table, column, button) => {
  const down = button.dataset.next === "descending";
  const order = (a, b) => {
    const [one, other] = [valueOf(a.cells[column]), valueOf(b.cells[column])];
    if (Number.isNaN(one) || Number.isNaN(other)) return Number.isNaN(one) - Number.isNaN(other); // unknown ones last
    const by = typeof one === "number" && typeof other === "number" ? one - other
      : String(one).localeCompare(String(other), undefined, { numeric: true });
    return down ? -by : by;
  };
  const body = table.tBodies[0];
  body.append(...[...body.rows].sort(order));
  all("th[aria-sort]", table).forEach(each => each.removeAttribute("aria-sort"));
  all("button.sort", table).forEach(each => each.dataset.next = "ascending");
  button.closest("th").setAttribute("aria-sort", down ? "descending" : "ascending");
  button.dataset.next = down ? "ascending" : "descending";
};
const quoted = text => /[",\n]/.test(text) ? '"' + text.replace(/"/g, '""') + '"' : text;
const csvOf = table => {
  const rows = [...table.tBodies[0].rows];
  const titles = headingsOf(table).map(cells => cells.map(cell => {
    const copy = cell.cloneNode(true);
    all("small", copy).forEach(each => each.prepend(" "));
    return copy.textContent.replace(/\s+/g, " ").trim();
  }).join(", "));
  const bounded = titles.map((_, x) => rows.some(row => row.cells[x]?.dataset.low !== undefined));
  const head = titles.flatMap((title, x) => bounded[x] ? [title, title + ", low", title + ", high"] : [title]);
  const lines = rows.map(row => [...row.cells].flatMap((cell, x) => {
    const value = cell.dataset.value ?? shown(cell).replace(/−/g, "-");
    return bounded[x] ? [value, cell.dataset.low ?? "", cell.dataset.high ?? ""] : [value];
  }));
  return [head, ...lines].map(line => line.map(quoted).join(",")).join("\r\n") + "\r\n";
};
for (const table of all("table.sortable")) {
  headingsOf(table).forEach((cells, column) => {
    const cell = cells[cells.length - 1];
    if (cell.colSpan > 1 || cell.querySelector("button")) return;
    const button = make("button", { type: "button", class: "sort", "data-next": "ascending" });
    button.append(...cell.childNodes);
    cell.append(button);
    button.addEventListener("click", () => sortBy(table, column, button));
  });
  const csv = make("button", { type: "button", class: "save" }, "CSV");
  csv.setAttribute("aria-label", "Save as CSV: " + table.closest("[aria-label]").getAttribute("aria-label"));
  csv.addEventListener("click", () => save(fileName(table.dataset.name) + ".csv", csvOf(table), "text/csv"));
  table.closest(".scroll").after(csv);
}

// Figures ------------------------------------------------------------------------------------------------------------

const asFile = svg => {
  const copy = svg.cloneNode(true), style = getComputedStyle(document.documentElement);
  const [, , width, height] = svg.getAttribute("viewBox").split(" ");
  copy.setAttribute("width", width);
  copy.setAttribute("height", height);
  copy.setAttribute("font-family", "sans-serif");
  const text = new XMLSerializer().serializeToString(copy);
  return text.replace(/var\((--[\w-]+)\)/g, (_, name) => style.getPropertyValue(name).trim());
};
for (const svg of all("svg.figure")) {
  const button = make("button", { type: "button", class: "save" }, "SVG");
  const name = svg.getAttribute("aria-label").split(/[.:]/)[0];
  button.setAttribute("aria-label", "Save as SVG: " + svg.getAttribute("aria-label").slice(0, 60));
  button.addEventListener("click", () => save(fileName(name) + ".svg", asFile(svg), "image/svg+xml"));
  svg.after(button);
}

// Thresholds and costs -----------------------------------------------------------------------------------------------

// Cumulated from the least confident pixel on: [pixels, mistakes] at or below every edge.
const curveOf = ([[first], counts, corrects], numEdges) => {
  const below = new Float64Array(numEdges), wrong = new Float64Array(numEdges);
  for (let i = 1; i < numEdges; i++) {
    const at = i - 1 - first, there = at >= 0 && at < counts.length;
    below[i] = below[i - 1] + (there ? counts[at] : 0);
    wrong[i] = wrong[i - 1] + (there ? counts[at] - corrects[at] : 0);
  }
  return { below, wrong, pixels: below[numEdges - 1], mistakes: wrong[numEdges - 1] };
};
const edgesOf = one => one === "" ? data.counts.edges
  : Array.from({ length: data.counts.num_bins + 1 }, (_, i) => i / data.counts.num_bins);
const curveFor = (method, one) => one === "" ? curveOf(data.counts.all[method], data.counts.edges.length)
  : curveOf(data.counts.by_class[method][Number(one)], data.counts.num_bins + 1);
const odds = p => { const q = Math.min(Math.max(p, 1e-9), 1 - 1e-9); return Math.log(q / (1 - q)); };
const nearest = (edges, p) => edges.reduce((best, edge, i) =>
  Math.abs(odds(edge) - odds(p)) < Math.abs(odds(edges[best]) - odds(p)) ? i : best, 0);
const exactly = p => p > 0.9995 ? (100 * p).toFixed(3) : (100 * p).toFixed(1);
const classOptions = () => [["", "all pixels"], ...data.classes.map((name, i) => [i, "labelled " + name + " by the model"])];
const ofClasses = data.counts ? Object.keys(data.counts.by_class) : [];
const watchers = [];
let threshold = 0.9;

if (data.counts) {
  const [method, one, slider] = [$("t-method"), $("t-class"), $("t-slider")];
  fill(method, data.methods.map(each => [each, each]));
  method.value = data.pair[data.pair.length - 1];
  fill(one, classOptions());
  const tell = () => {
    const edges = edgesOf(one.value), i = Number(slider.value);
    const curve = curveFor(method.value, one.value);
    threshold = edges[i];
    $("t-threshold").textContent = exactly(threshold) + "\u00a0%";
    slider.setAttribute("aria-valuetext", exactly(threshold) + " percent");
    $("t-reviewed").textContent = percent(curve.below[i] / curve.pixels);
    $("t-caught").textContent = percent(curve.wrong[i] / curve.mistakes);
    $("t-left").textContent = percent((curve.mistakes - curve.wrong[i]) / (curve.pixels - curve.below[i]), 2);
    $("t-hint").textContent = one.value === "" ? "Counted in 352 steps of the log-odds."
      : "Of one class the counts have " + data.counts.num_bins + " steps: the edges of the confidence bins.";
    watchers.forEach(each => each());
  };
  const setUp = () => {
    for (const option of one.options) option.disabled = option.value !== "" && !ofClasses.includes(method.value);
    if (one.selectedOptions[0].disabled) one.value = "";
    const edges = edgesOf(one.value);
    slider.max = edges.length - 1;
    slider.value = nearest(edges, threshold);
    tell();
  };
  slider.addEventListener("input", tell);
  for (const select of [method, one]) select.addEventListener("change", setUp);
  $("threshold-tool").hidden = false;
  setUp();

  const [mistake, review, costClass] = [$("c-mistake"), $("c-review"), $("c-class")];
  fill(costClass, classOptions());
  const price = () => {
    const [m, r] = [Number(mistake.value), Number(review.value)];
    if (!(m > 0 && r > 0)) {
      $("c-caption").textContent = "Two prices above 0, please.";
      $("c-rows").replaceChildren();
      return;
    }
    const rule = Math.max(0, 1 - r / m), edges = edgesOf(costClass.value), at = nearest(edges, rule);
    $("c-caption").textContent = "Cost of 1,000 pixels. By its word: reviewing at or below "
      + exactly(edges[at]) + " %, the counted threshold nearest to 1 − " + r + " / " + m + " = " + exactly(rule) + " %.";
    const methods = costClass.value === "" ? data.methods : ofClasses;
    $("c-rows").replaceChildren(...methods.map(name => {
      const curve = curveFor(name, costClass.value);
      const cost = edges.map((_, i) => 1000 * (r * curve.below[i] + m * (curve.mistakes - curve.wrong[i])) / curve.pixels);
      const best = cost.reduce((low, each, i) => each < cost[low] ? i : low, 0);
      const row = make("tr");
      row.append(make("th", { scope: "row" }, name));
      for (const [value, digits] of [[cost[0], 1], [cost[at], 1], [cost[best], 1], [100 * edges[best], 1], [cost[at] - cost[best], 1]])
        row.append(Number.isFinite(value) ? make("td", { "data-value": value }, value.toFixed(digits)) : make("td", {}, "–"));
      return row;
    }));
  };
  for (const each of [mistake, review]) each.addEventListener("input", price);
  costClass.addEventListener("change", price);
  $("cost-tool").hidden = false;
  price();
}

// Places -------------------------------------------------------------------------------------------------------------

// A link to what is folded away unfolds it; the browser alone would stay where it is.
const unfold = () => {
  const target = location.hash && $(decodeURIComponent(location.hash.slice(1)));
  if (!target) return;
  for (let each = target; each; each = each.parentElement) if (each.tagName === "DETAILS") each.open = true;
  target.scrollIntoView();
};
addEventListener("hashchange", unfold);
unfold();

// Images -------------------------------------------------------------------------------------------------------------

const VOID = -1;
const numberOf = hex => parseInt(hex, 16);
const classAt = new Map(data.key.map(([number, color]) => [numberOf(color.slice(1)), number]));
const colorAt = new Map(data.key.map(([number, color]) => [number, numberOf(color.slice(1))]));
const levelAt = Object.fromEntries(Object.entries(data.ramps).map(([name, colors]) =>
  [name, new Map(colors.map((color, level) => [numberOf(color), level]))]));
const confidenceAt = level => {
  const [low, high] = [odds(data.lowest), odds(data.highest)];
  return 1 / (1 + Math.exp(-(low + (high - low) * level / (data.ramps.confidence.length - 1))));
};
const decoded = new Map();
// Classes or levels of an embedded map, and its raw pixels: {width, height, values, pixels}.
const decode = async img => {
  if (decoded.has(img)) return decoded.get(img);
  const image = new Image();
  image.src = img.src;
  await image.decode();
  const canvas = make("canvas", { width: image.naturalWidth, height: image.naturalHeight });
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.drawImage(image, 0, 0);
  const { width, height, data: pixels } = context.getImageData(0, 0, canvas.width, canvas.height);
  const kind = img.dataset.layer === "frequency" ? "entropy" : img.dataset.layer, table = levelAt[kind] ?? (kind === "image" || kind === "mistakes" ? null : classAt);
  const values = new Int16Array(width * height).fill(VOID);
  if (table) for (let i = 0; i < values.length; i++)
    if (pixels[4 * i + 3] > 127)
      values[i] = table.get(pixels[4 * i] << 16 | pixels[4 * i + 1] << 8 | pixels[4 * i + 2]) ?? VOID;
  const result = { width, height, values, canvas };
  decoded.set(img, result);
  return result;
};
const rgb = number => [number >> 16, number >> 8 & 255, number & 255];
const CHANGE = { less: [0, 114, 178], same: [245, 245, 243], more: [230, 97, 0] };
const mixed = (one, other, share) => one.map((each, i) => Math.round(each + (other[i] - each) * share));
const changeColor = change => mixed(CHANGE.same, change > 0 ? CHANGE.more : CHANGE.less, Math.min(1, Math.abs(change) / 3));

// The layers of a case: name in the list, the embedded maps it needs, and the colour of pixel i (null: nothing drawn).
const layersOf = root => {
  const maps = all("img[data-layer]", root), find = (layer, method = "") =>
    maps.find(img => img.dataset.layer === layer && img.dataset.method === method);
  const layers = [], add = (name, needs, color, legend) => layers.push({ name, needs, color, legend });
  const asClass = map => i => map.values[i] === VOID ? null : rgb(colorAt.get(map.values[i]));
  const asLevel = (map, ramp) => i => map.values[i] === VOID ? null : rgb(numberOf(data.ramps[ramp][map.values[i]]));
  if (find("image")) add("Image alone", [], () => () => null, "");
  if (find("reference")) add("Reference", [find("reference")], asClass, "classes");
  if (find("prediction")) add("Prediction", [find("prediction")], asClass, "classes");
  for (const img of maps.filter(each => each.dataset.layer === "relabelled")) {
    add("Labels by " + img.dataset.method, [img], asClass, "classes");
    if (find("reference")) add("Labels that " + img.dataset.method + " changes", [find("reference"), find("prediction"), img],
      (truth, before, after) => i => truth.values[i] === VOID ? null
        : before.values[i] === after.values[i] ? CHANGE.same
        : after.values[i] === truth.values[i] ? CHANGE.less : before.values[i] === truth.values[i] ? CHANGE.more : [150, 150, 150],
      "Blue: mended. Orange: broken. Grey: wrong before and after.");
  }
  if (find("reference") && find("prediction")) add("Mistakes", [find("reference"), find("prediction")],
    (truth, said) => i => truth.values[i] === VOID || truth.values[i] === said.values[i] ? null : [196, 70, 0],
    "Orange: the label is wrong.");
  const sure = maps.filter(img => img.dataset.layer === "confidence");
  for (const img of sure) add("Confidence, " + img.dataset.method, [img], map => asLevel(map, "confidence"), "confidence");
  for (const img of sure.slice(1)) add("Change of confidence by " + img.dataset.method, [sure[0], img],
    (before, after) => i => before.values[i] === VOID ? null
      : changeColor(odds(confidenceAt(after.values[i])) - odds(confidenceAt(before.values[i]))),
    "Blue: less sure than " + (sure[0] ? sure[0].dataset.method : "") + ". Orange: surer. Full colour: by 3 in log-odds.");
  for (const img of sure) add("To review, by " + img.dataset.method, [img],
    map => i => map.values[i] !== VOID && confidenceAt(map.values[i]) <= threshold ? [204, 121, 167] : null, "review");
  if (find("entropy")) add("Entropy", [find("entropy")], map => asLevel(map, "entropy"), "entropy");
  if (find("frequency")) add("Entropy of the hypotheses", [find("frequency")], map => asLevel(map, "entropy"), "entropy");
  maps.filter(img => img.dataset.layer === "hypothesis").forEach((img, i) =>
    add("Hypothesis " + (i + 1), [img], asClass, "classes"));
  maps.filter(img => img.dataset.layer === "annotator").forEach((img, i) =>
    add("Annotator " + (i + 1), [img], asClass, "classes"));
  return layers;
};

const cases = all(".case");
if (cases.length && typeof HTMLDialogElement === "function") {
  document.body.append($("viewer-template").content.cloneNode(true));
  const dialog = document.querySelector("dialog.viewer"), stage = dialog.querySelector(".stage");
  const canvas = dialog.querySelector("canvas"), reading = dialog.querySelector(".reading");
  const legend = dialog.querySelector(".legend");
  const set = Object.fromEntries(all("[data-set]", dialog).map(each => [each.dataset.set, each]));
  const view = { root: cases[0], layers: [], photo: null, overlay: null, size: [1, 1], zoom: 1, x: 0.5, y: 0.5, turn: 0 };

  fill(set.case, cases.map((each, i) => [i, each.dataset.title]));
  const scale = () => Math.min(canvas.width / view.size[0], canvas.height / view.size[1]) * view.zoom;
  // Where the picture's left upper corner lies on the canvas; the middle of the view stays within the picture.
  const corner = () => {
    const s = scale();
    return [canvas.width / 2 - view.x * view.size[0] * s, canvas.height / 2 - view.y * view.size[1] * s];
  };
  const paint = () => {
    const ratio = devicePixelRatio || 1, context = canvas.getContext("2d");
    canvas.width = Math.max(1, Math.round(stage.clientWidth * ratio));
    canvas.height = Math.max(1, Math.round(stage.clientHeight * ratio));
    const [x, y] = corner(), [w, h] = view.size.map(each => each * scale());
    context.imageSmoothingEnabled = false;
    context.fillStyle = "#8c8c8c";
    context.fillRect(x, y, w, h);
    if (view.photo) context.drawImage(view.photo.canvas, x, y, w, h);
    context.globalAlpha = Number(set.opacity.value) / 100;
    if (view.overlay) context.drawImage(view.overlay, x, y, w, h);
  };
  const key = { confidence: ["confidence", "confidence, 10 % dark to 99.9 % bright"], entropy: ["entropy", "entropy, none dark to most bright"] };
  const tellLegend = (kind, only) => {
    legend.replaceChildren();
    if (kind === "classes") {
      for (const [number, color] of data.key) {
        const item = make("span"), swatch = make("span", { class: "swatch" });
        swatch.style.background = color;
        item.append(swatch, number + " " + data.classes[number]);
        legend.append(item);
      }
    } else if (key[kind]) {
      const ramp = make("span", { class: "swatch ramp" });
      ramp.style.background = "linear-gradient(to right,#" + data.ramps[key[kind][0]].filter((_, i) => i % 9 === 0).join(",#") + ")";
      legend.append(ramp, key[kind][1]);
    } else if (kind === "review") {
      legend.append("Pink: confidence at or below " + exactly(threshold) + " %, the threshold under Deciding.");
    } else legend.append(kind);
    if (only !== "") legend.append(make("span", {}, " Only where " + (view.root.querySelector('img[data-layer="reference"]') ? "the reference or the prediction" : "the map") + " says " + data.classes[only] + "."));
  };
  const draw = async () => {
    const turn = ++view.turn, layer = view.layers[set.layer.selectedIndex] ?? view.layers[0];
    const find = name => view.root.querySelector('img[data-layer="' + name + '"]');
    const needed = [find("image"), find("reference"), find("prediction"), ...layer.needs];
    const [photo, truth, said, ...maps] = await Promise.all(needed.map(img => img && decode(img)));
    if (turn !== view.turn) return; // another layer was asked for meanwhile
    const size = maps[0] ?? truth ?? photo, only = set.only.value, color = layer.color(...maps);
    const overlay = make("canvas", { width: size.width, height: size.height }), context = overlay.getContext("2d");
    const judged = truth || said ? [truth, said] : layer.legend === "classes" ? maps : [];
    const pixels = context.createImageData(size.width, size.height);
    for (let i = 0; i < size.width * size.height; i++) {
      if (only !== "" && !judged.some(map => map?.values[i] === Number(only))) continue;
      const found = color(i);
      if (found) pixels.data.set([...found, 255], 4 * i);
    }
    context.putImageData(pixels, 0, 0);
    Object.assign(view, { photo, overlay, truth, said, size: [size.width, size.height] });
    dialog.querySelector("h2").textContent = view.root.dataset.title;
    tellLegend(layer.legend, only);
    paint();
    stage.dataset.drawn = layer.name; // for those who wait until it is there
  };
  const setCase = (root, wanted) => {
    const before = wanted ?? set.layer.selectedOptions[0]?.textContent;
    view.root = root;
    view.layers = layersOf(root);
    fill(set.layer, view.layers.map((each, i) => [i, each.name]));
    const again = view.layers.findIndex(each => each.name === before);
    set.layer.selectedIndex = again >= 0 ? again : 0;
    set.case.value = cases.indexOf(root);
    return draw();
  };
  const show = (root, wanted) => {
    Object.assign(view, { zoom: 1, x: 0.5, y: 0.5 });
    set.zoom.value = 0;
    if (!dialog.open) dialog.showModal();
    return setCase(root, wanted);
  };
  fill(set.only, [["", "all"], ...data.key.map(([number]) => [number, data.classes[number]])]);
  const within = value => Math.min(1, Math.max(0, value));
  const magnify = (zoom, place) => {
    const [before, at] = [scale(), corner()];
    view.zoom = Math.min(64, Math.max(1, zoom));
    set.zoom.value = 100 * Math.log2(view.zoom) / 6;
    if (place) { // what lies under the pointer stays there
      const [px, py] = place.map((each, i) => (each - at[i]) / before), s = scale();
      view.x = within((canvas.width / 2 - place[0] + px * s) / s / view.size[0]);
      view.y = within((canvas.height / 2 - place[1] + py * s) / s / view.size[1]);
    }
    if (view.zoom === 1) view.x = view.y = 0.5;
    paint();
  };
  const move = (dx, dy) => {
    view.x = within(view.x - dx / scale() / view.size[0]);
    view.y = within(view.y - dy / scale() / view.size[1]);
    paint();
  };
  const placeOf = event => {
    const box = canvas.getBoundingClientRect(), ratio = canvas.width / box.width;
    return [(event.clientX - box.left) * ratio, (event.clientY - box.top) * ratio];
  };
  const read = async event => {
    const [px, py] = placeOf(event), [x0, y0] = corner(), s = scale();
    const [x, y] = [Math.floor((px - x0) / s), Math.floor((py - y0) / s)], [w, h] = view.size;
    if (x < 0 || y < 0 || x >= w || y >= h) return;
    const i = y * w + x, name = map => map.values[i] === VOID ? "not labelled" : data.classes[map.values[i]];
    const words = ["Row " + (y + 1) + ", column " + (x + 1)];
    if (view.truth) words.push("reference " + name(view.truth));
    if (view.said) words.push("prediction " + name(view.said));
    for (const img of all('img[data-layer="confidence"]', view.root)) {
      const map = await decode(img);
      if (map.values[i] !== VOID) words.push(img.dataset.method + " " + percent(confidenceAt(map.values[i])) + " sure");
    }
    for (const [layer, plural] of [["hypothesis", "hypotheses"], ["annotator", "annotators"]]) {
      const times = new Map();
      for (const img of all('img[data-layer="' + layer + '"]', view.root)) {
        const said = name(await decode(img));
        times.set(said, (times.get(said) ?? 0) + 1);
      }
      if (times.size) words.push(plural + ": " + [...times].sort((a, b) => b[1] - a[1]).map(([said, n]) => said + " " + n).join(", "));
    }
    reading.textContent = words.join("; ") + ".";
  };
  const flip = by => {
    const count = view.layers.length;
    set.layer.selectedIndex = (set.layer.selectedIndex + by + count) % count;
    return draw();
  };

  const pointers = new Map();
  let apart = 0;
  stage.addEventListener("pointerdown", event => {
    stage.setPointerCapture(event.pointerId);
    pointers.set(event.pointerId, placeOf(event));
    apart = 0;
  });
  stage.addEventListener("pointermove", event => {
    const before = pointers.get(event.pointerId), now = placeOf(event);
    if (before) {
      pointers.set(event.pointerId, now);
      if (pointers.size === 2) {
        const [[ax, ay], [bx, by]] = [...pointers.values()], distance = Math.hypot(ax - bx, ay - by);
        if (apart) magnify(view.zoom * distance / apart, [(ax + bx) / 2, (ay + by) / 2]);
        apart = distance;
      } else move(now[0] - before[0], now[1] - before[1]);
    } else read(event);
  });
  for (const end of ["pointerup", "pointercancel"]) stage.addEventListener(end, event => {
    if (pointers.delete(event.pointerId)) read(event);
  });
  stage.addEventListener("wheel", event => {
    event.preventDefault();
    magnify(view.zoom * Math.exp(-event.deltaY / 300), placeOf(event));
  }, { passive: false });
  stage.addEventListener("keydown", event => {
    const step = canvas.width / 8, moves = { ArrowLeft: [step, 0], ArrowRight: [-step, 0], ArrowUp: [0, step], ArrowDown: [0, -step] };
    if (moves[event.key]) move(...moves[event.key]);
    else if (event.key === "+" || event.key === "=") magnify(view.zoom * 1.5);
    else if (event.key === "-") magnify(view.zoom / 1.5);
    else if (event.key === "0") magnify(1);
    else return;
    event.preventDefault();
  });
  set.case.addEventListener("change", () => show(cases[Number(set.case.value)]));
  for (const each of [set.layer, set.only]) each.addEventListener("change", draw);
  set.opacity.addEventListener("input", paint);
  set.zoom.addEventListener("input", () => magnify(2 ** (6 * Number(set.zoom.value) / 100)));
  dialog.addEventListener("click", event => {
    const act = event.target.dataset?.do;
    if (act === "close" || event.target === dialog) dialog.close();
    else if (act === "whole") magnify(1);
    else if (act === "earlier") flip(-1);
    else if (act === "later") flip(1);
  });
  addEventListener("resize", () => dialog.open && paint());
  watchers.push(() => dialog.open && draw());

  const opening = { image: "Image alone", reference: "Reference", prediction: "Prediction", mistakes: "Mistakes", entropy: "Entropy", frequency: "Entropy of the hypotheses" };
  for (const root of cases) {
    const button = make("button", { type: "button", class: "look" }, "Look closer");
    button.setAttribute("aria-label", "Look closer at " + root.dataset.title);
    button.addEventListener("click", () => show(root));
    root.querySelector("h3").after(button);
    for (const img of all("img[data-layer]", root)) {
      const order = all('img[data-layer="' + img.dataset.layer + '"]', root).indexOf(img) + 1;
      const name = { confidence: "Confidence, " + img.dataset.method, relabelled: "Labels by " + img.dataset.method, hypothesis: "Hypothesis " + order, annotator: "Annotator " + order }[img.dataset.layer] ?? opening[img.dataset.layer];
      img.closest(".map").classList.add("opens");
      img.addEventListener("click", () => show(root, name));
    }
  }
}
document.documentElement.classList.add("scripted");
})();
