"use strict";
// The two plots to explore, and their controls; tables.js stands before it.
(async () => {
  const MODES = ["eager", "compile", "graph"]; // the later, the nearer to how a model is served
  const FAILURES = { oom: "OOM", timeout: "timeout", diverged: "diverged", error: "error" };
  const HIDDEN = 0.12; // how opaque what is not asked for stays
  const USUAL = "usual at each length";
  const media = (query) => matchMedia(query);
  const distinct = (values) => [...new Set(values)];
  const groups = (rows, of) => rows.reduce((all, row) => all.set(of(row), [...(all.get(of(row)) ?? []), row]), new Map());

  async function unpack(id) {
    const bytes = Uint8Array.from(atob($(`#${id}`).textContent), (letter) => letter.charCodeAt(0));
    return new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"))).text();
  }

  // numbers as people read them, as report/units.py writes them
  const digits = (value) => String(+value.toFixed(Math.abs(value) >= 99.95 ? 0 : Math.abs(value) >= 9.995 ? 1 : 2));
  const THOUSANDS = [[1e9, "G"], [1e6, "M"], [1e3, "k"], [1, ""]];
  const STEPS = {
    bytes: [[2 ** 40, " TiB"], [2 ** 30, " GiB"], [2 ** 20, " MiB"], [2 ** 10, " KiB"], [1, " B"]],
    "tokens/s": THOUSANDS, parameters: THOUSANDS, sequences: [[1, ""]], tokens: [[1, ""]],
    "J/token": [[1, " J"], [1e-3, " mJ"], [1e-6, " µJ"]], s: [[1, " s"], [1e-3, " ms"], [1e-6, " µs"]],
  };
  function scaled(value, steps) {
    const [step, name] = steps.find(([least]) => Math.abs(value) >= least) ?? steps.at(-1);
    return value ? digits(value / step) + name : "0";
  }
  function show(value, unit) {
    if (STEPS[unit]) return scaled(value, STEPS[unit]);
    if (unit === "fraction") return `${value >= 0.0995 ? Math.round(100 * value) : +(100 * value).toPrecision(2)} %`;
    return value.toFixed(unit === "bits/byte" || unit === "nats" ? 3 : 2);
  }
  const showTick = (value, unit) => (STEPS[unit] || unit === "fraction" ? show(value, unit) : String(+value.toPrecision(3)));
  const showLength = (tokens) => {
    const [step, name] = [[2 ** 20, "M"], [1024, "k"]].find(([each]) => tokens >= each && tokens % each === 0) ?? [1, ""];
    return (tokens / step).toLocaleString("en") + name;
  };
  const valued = (metric) => metric.label + (metric.unit === "tokens/s" ? " (tokens/s)" : "");

  const printing = () => $$("main section > details, details.answer").forEach((each) => (each.open = true));

  const data = JSON.parse(await unpack("data"));
  for (const button of $$("[data-file]")) {
    if (!data?.files[button.dataset.file]) button.remove();
    button.addEventListener("click", () => save(button.dataset.file, data.files[button.dataset.file]));
  }
  if (!data || !$("#frontier")) return;
  $("body").append(make("script", { textContent: await unpack("plotly") }));

  const { texts, numbers, sources } = data.rows;
  const rows = sources.codes.map((source, i) => {
    const row = { source: sources.values[source] };
    for (const [name, column] of Object.entries(texts)) row[name] = column.values[column.codes[i]];
    for (const [name, column] of Object.entries(numbers)) row[name] = column[i];
    return row;
  });
  const isQuality = (row) => data.metrics[row.metric].quality;

  // what both plots show lives in the address, as far as it differs from how the page opens
  const start = { ...data.start, lm: "train_throughput|train" };
  const read = () => ({ ...start, ...(location.hash.includes("=") ? Object.fromEntries(new URLSearchParams(location.hash.slice(1))) : {}) });
  let state = read();
  function set(changes) {
    Object.assign(state, changes);
    const told = Object.entries(state).filter(([key, value]) => value !== (start[key] ?? ""));
    history.replaceState(null, "", `#${new URLSearchParams(told)}`);
    draw();
  }
  addEventListener("hashchange", () => { if (location.hash.includes("=")) { state = read(); draw(); } });
  for (const link of $$("nav a")) link.addEventListener("click", (event) => {
    event.preventDefault(); // the address keeps what is shown
    const target = $(link.getAttribute("href"));
    target.scrollIntoView();
    Object.assign(target, { tabIndex: -1 }).focus({ preventScroll: true });
  });

  // a select for each thing to choose, each among what the ones before it leave
  const archs = (some) => new Set(some.filter((row) => row.value !== null).map((row) => row.arch)).size;
  const rank = (value) => (MODES.includes(value) ? MODES.indexOf(value) : +value || 0);
  function options(rows, field) {
    const found = [...groups(rows, field.of)].map(([value, own]) => ({ value: String(value), count: archs(own) }));
    return found.sort((one, other) => other.count - one.count || rank(other.value) - rank(one.value));
  }
  function narrow(box, rows, fields) {
    for (const field of fields) {
      const found = options(rows, field);
      const extra = field.extra && found.length > 1 ? [field.extra] : [];
      const values = [...(field.usual ? extra : []), ...found.map(({ value }) => value)];
      if (!field.usual) values.push(...extra);
      const picked = values.includes(state[field.key]) ? state[field.key] : values[0];
      if (values.length > 1) {
        const select = make("select", { name: field.key });
        const shown = [...values].sort((one, other) => (+one || 0) - (+other || 0));
        select.append(...shown.map((value) => new Option(field.text?.(value) ?? value, value, false, value === picked)));
        select.addEventListener("change", () => set({ [field.key]: select.value }));
        box.append(make("label", {}, field.name, select));
      }
      if (!extra.includes(picked)) rows = rows.filter((row) => String(field.of(row)) === picked);
      else if (field.usual) rows = field.usual(rows);
    }
    return rows;
  }
  function tick(box, key, name) {
    const input = make("input", { type: "checkbox", name: key, checked: state[key] !== "0" });
    input.addEventListener("change", () => set({ [key]: input.checked ? "" : "0" }));
    box.append(make("label", { className: "tick" }, input, name));
  }
  function refill(section, fill) {
    const box = $(".controls", section), name = box.contains(document.activeElement) && document.activeElement.name;
    box.replaceChildren();
    const filled = fill(box);
    if (name) box.querySelector(`[name="${name}"]`)?.focus();
    return filled;
  }
  const key = (name, label, more = {}) => ({ key: name, name: label, of: (row) => row[name], ...more });
  const WHERE = [key("label", "Hardware", { extra: "all" }), key("size", "Size", { extra: "all" })];
  const metricName = (value) => valued(data.metrics[value]);

  function legend(section, names) {
    const box = $(".names", section);
    const focused = box.contains(document.activeElement) && document.activeElement.dataset.arch;
    box.classList.toggle("isolated", names.includes(state.only));
    box.replaceChildren(...names.map((arch) => {
      const button = make("button", { type: "button" });
      button.dataset.arch = arch;
      button.setAttribute("aria-pressed", String(state.only === arch));
      const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
      const path = document.createElementNS("http://www.w3.org/2000/svg", "path");
      svg.setAttribute("viewBox", "-1.1 -1.1 2.2 2.2");
      path.setAttribute("d", data.archs[arch].outline);
      path.setAttribute("fill", colour(arch));
      svg.append(path);
      button.append(svg, make("span", {}, arch));
      button.addEventListener("click", () => set({ only: state.only === arch ? "" : arch }));
      return button;
    }));
    if (focused) $$("button", box).find((each) => each.dataset.arch === focused)?.focus();
  }

  // plots
  let paper = false; // while printing, whatever the screen
  const dark = () => !paper && media("(prefers-color-scheme: dark)").matches;
  const colour = (arch) => data.archs[arch][dark() ? "dark" : "light"];
  const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
  const FONT = "system-ui, sans-serif";
  const ink = (name) => (paper ? { ink: "#000", soft: "#444", line: "#ddd", paper: "#fff", band: "rgb(0 114 178 / .14)" }[name] : css(name));
  const inert = (text) => String(text).replace(/[&<>]/g, (letter) => `&#${letter.charCodeAt(0)};`);
  const MARGIN = { l: 80, r: 14, t: 26, b: 56 };
  const LINEAR = { fraction: { tickformat: ".0%" }, s: { tickformat: "~s", ticksuffix: "s" } };
  const sign = (metric) => (metric.better === "lower" ? 1 : -1);

  function axis(values, metric, log, flip = false, room = 0.14) {
    const known = values.filter((value) => value !== null).map((value) => (log ? Math.log10(value) : value));
    let [low, high] = known.reduce(([low, high], value) => [Math.min(low, value), Math.max(high, value)], [Infinity, -Infinity]);
    const pad = Math.max((high - low) * room, log ? 0.06 : Math.abs(high) * 0.05 || 1);
    [low, high] = [low - pad, high + pad];
    const made = { type: log ? "log" : "linear", range: flip ? [high, low] : [low, high], gridcolor: ink("line"), linecolor: ink("soft"), zeroline: false, ticks: "outside", tickcolor: ink("line") };
    const ticked = (places) => ({ ...made, tickvals: places, ticktext: places.map((place) => showTick(place, metric.unit)) });
    if (!log && metric.unit === "bytes") {
      const step = 2 ** Math.round(Math.log2((high - low) / 6)), from = Math.ceil(low / step);
      return ticked(Array.from({ length: Math.floor(high / step) - from + 1 }, (_, i) => (from + i) * step));
    }
    if (!log) return { ...made, nticks: 6, ...LINEAR[metric.unit] };
    // round numbers, in powers of two for bytes: few where they suffice
    const base = metric.unit === "bytes" ? 2 : 10, [least, most] = [low, high].map((end) => Math.floor(end / Math.log10(base)));
    const powers = Array.from({ length: most - least + 1 }, (_, i) => least + i);
    const stride = Math.ceil(powers.length / 7);
    const steps = base === 2 ? [[1], [1, 1.5], [1, 1.25, 1.5, 1.75]] : [[1], [1, 2, 5], [1, 1.5, 2, 2.5, 3, 4, 5, 6, 7, 8]];
    const all = steps.map((some) => powers.filter((power) => power % stride === 0)
      .flatMap((power) => some.map((step) => step * base ** power)).filter((at) => low <= Math.log10(at) && Math.log10(at) <= high));
    return ticked(all.find((some) => some.length >= 3) ?? all.at(-1));
  }
  function size(section) { // of what the axes enclose, in pixels
    const width = paper ? 680 : $(".canvas", section).clientWidth;
    return [width - MARGIN.l - MARGIN.r, Math.min(560, Math.max(400, width * 0.55)) - MARGIN.t - MARGIN.b];
  }
  function render(section, traces, layout, points) {
    const plot = $(".canvas", section), [width, height] = size(section), coarse = media("(pointer: coarse)").matches;
    layout = {
      width: width + MARGIN.l + MARGIN.r, height: height + MARGIN.t + MARGIN.b, margin: MARGIN, paper_bgcolor: ink("paper"), plot_bgcolor: ink("paper"), showlegend: false, hovermode: "closest",
      font: { color: ink("ink"), family: FONT, size: 13 }, dragmode: coarse ? false : "zoom",
      hoverlabel: { bgcolor: ink("paper"), bordercolor: ink("soft"), font: { color: ink("ink"), size: 12 }, align: "left" }, ...layout,
    };
    Plotly.react(plot, traces, layout, { displayModeBar: false, responsive: false });
    plot.removeAllListeners("plotly_hover").removeAllListeners("plotly_click");
    for (const event of ["plotly_hover", "plotly_click"]) plot.on(event, ({ points: [at] }) => at.data.told && tell(section, at.data.told[at.pointIndex]));
    section.points = points;
    table(section, points);
  }
  const slim = () => media("(max-width: 40rem)").matches;
  const title = (metric) => ({ text: valued(metric) + (slim() ? "" : `, ${metric.better} is better`), standoff: 10 });
  function tell(section, lines) {
    $(".told", section).replaceChildren(make("dl", {}, ...lines.flatMap(([name, value]) => [make("dt", {}, name), make("dd", {}, value)])));
  }
  // in the plot itself a narrow screen has room for little; all stands below it
  const hover = (lines) => lines.slice(0, slim() ? 4 : 99)
    .map(([name, value]) => `<b>${inert(name)}</b> ${inert(value).replace(/(.{70}[^ ]*) /g, "$1<br>")}`).join("<br>");
  function table(section, points) {
    const made = $(".listed table", section);
    const names = distinct(points.flatMap((lines) => lines.map(([name]) => name)));
    made.caption.textContent = `${points.length} points; a row shows its whole provenance above`;
    made.tHead.replaceChildren(make("tr", {}, ...names.map((name) => Object.assign(make("th", {}, name), { scope: "col" }))));
    made.tBodies[0].replaceChildren(...points.slice(0, 500).map((lines) => {
      const of = new Map(lines), row = make("tr", {}, ...names.map((name, i) => make(i ? "td" : "th", {}, of.get(name) ?? "–")));
      row.addEventListener("click", () => tell(section, lines));
      return row;
    }));
    sortable(made);
  }
  const reach = (row, metric) => {
    const range = row.low !== null && row.high > row.low ? ` (${show(row.low, metric.unit)} to ${show(row.high, metric.unit)})` : "";
    return row.value === null ? FAILURES[row.status] ?? row.status : show(row.value, metric.unit) + range + (row.status === "in cache" ? " · in cache" : "");
  };
  const merged = (one, other) => distinct([...Object.keys(one), ...Object.keys(other)])
    .map((name) => [name, distinct([one[name], other[name]].filter(Boolean)).join(" · ")]);
  const bars = (rows) => ({
    type: "data", symmetric: false, thickness: 1.2, width: 3,
    array: rows.map((row) => Math.max(0, row.high - row.value)), arrayminus: rows.map((row) => Math.max(0, row.value - row.low)),
  });

  const ruler = make("canvas").getContext("2d");
  const wide = (text, bold) => {
    ruler.font = `${bold ? "bold " : ""}13px ${FONT}`;
    return ruler.measureText(text).width;
  };
  // the greatest share of names that hide nothing; the rest are in the legend
  function labelled(points, x, y, width, height) {
    const at = (ax, value, span) => ((ax.type === "log" ? Math.log10(value) : value) - ax.range[0]) / (ax.range[1] - ax.range[0]) * span;
    const dots = points.map((point) => ({ px: at(x, point.x, width), py: height - at(y, point.y, height) }));
    const taken = dots.map(({ px, py }) => [px - 7, py - 7, px + 7, py + 7]);
    for (const { x: px, y: py, cost, quality } of points.filter((point) => point.cost)) {
      const [left, right] = [cost.low, cost.high].map((value) => at(x, value, width)), level = height - at(y, py, height);
      const [top, foot] = [quality.low, quality.high].map((value) => height - at(y, value, height)), upright = at(x, px, width);
      taken.push([left, level - 2, right, level + 2], [upright - 2, Math.min(top, foot), upright + 2, Math.max(top, foot)]);
    }
    const hit = ([a, b, c, d]) => a < 0 || c > width || b < 0 || d > height || taken.some(([e, f, g, h]) => a < g && c > e && b < h && d > f);
    return points.flatMap((point, i) => {
      const half = wide(point.arch, point.ahead) / 2 + 2, { px, py } = dots[i];
      const shifts = !point.cost ? [0, -8, 8, -15, 15].map((dy) => [half + 8, dy]) : [[0, -17], [0, 17], [half + 10, 0], [-half - 10, 0], [half + 5, -17], [-half - 5, -17], [half + 5, 17], [-half - 5, 17], [0, -30], [0, 30]];
      const box = ([dx, dy]) => [px + dx - half, py + dy - 8, px + dx + half, py + dy + 8];
      const free = shifts.find((shift) => !hit(box(shift)));
      if (!free || half > 90) return [];
      taken.push(box(free));
      const placed = (ax, value) => (ax.type === "log" ? Math.log10(value) : value);
      return [{ x: placed(x, point.x), y: placed(y, point.y), xshift: free[0], yshift: -free[1], text: point.ahead ? `<b>${inert(point.arch)}</b>` : inert(point.arch), showarrow: false, font: { size: 13, color: ink(point.ahead ? "ink" : "soft") } }];
    });
  }

  const stairs = (corners, at, xSign, ySign, worst) => at.map((cost) => {
    const within = corners.filter(([x]) => xSign * x <= xSign * cost).map(([, y]) => ySign * y);
    return within.length ? ySign * Math.min(...within, ySign * worst) : worst;
  });

  function drawFrontier(section) {
    const [costs, qualities] = [rows.filter((row) => !isQuality(row)), rows.filter(isQuality)];
    const [learned, spent] = refill(section, (box) => {
      let own = narrow(box, qualities.some((row) => row.value !== null) ? rows : costs, WHERE);
      const good = narrow(box, own.filter(isQuality), [key("metric", "Quality (up)", { key: "y", text: metricName }), { key: "q", name: "Trained for", of: (row) => row.at }]);
      const known = new Set(good.filter((row) => row.value !== null).map((row) => row.arch));
      own = own.filter((row) => !isQuality(row) && known.has(row.arch));
      const dear = narrow(box, own, [key("metric", "Cost (across)", { key: "x", text: metricName }), key("phase", "Phase"), key("seq_len", "Length", { text: (value) => showLength(+value) }), key("batch", "Batch"), key("mode", "Mode"), key("how", "Run with")]);
      tick(box, "logx", "log cost");
      tick(box, "logy", "log quality");
      return [good, dear];
    });
    const who = (row) => JSON.stringify([row.label, row.size, row.arch]);
    const quality = new Map(learned.map((row) => [who(row), row]));
    const points = spent.filter((row) => row.value !== null && (quality.get(who(row))?.value ?? null) !== null)
      .map((row) => ({ arch: row.arch, x: row.value, y: quality.get(who(row)).value, cost: row, quality: quality.get(who(row)) }));
    const names = distinct(points.map((point) => point.arch)).sort();
    legend(section, names);
    const note = $(".note", section);
    if (!points.length) {
      note.textContent = "No architecture here has both a quality and a cost.";
      Plotly.purge($(".canvas", section));
      return;
    }
    const [x, y] = [data.metrics[points[0].cost.metric], data.metrics[points[0].quality.metric]];
    const beats = (one, other) => {
      const [dx, dy] = [sign(x) * (one.x - other.x), sign(y) * (one.y - other.y)];
      return dx <= 0 && dy <= 0 && (dx < 0 || dy < 0);
    };
    for (const point of points) point.ahead = !points.some((other) => beats(other, point));
    const log = (name, part) => state[name] !== "0" && points.every((point) => point[part].value > 0 && point[part].low > 0);
    const ends = (part) => points.flatMap((point) => [point[part].low, point[part].high]);
    const ax = axis(ends("cost"), x, log("logx", "cost")), ay = axis(ends("quality"), y, log("logy", "quality"), y.better === "lower");
    const raw = (made, value) => (made.type === "log" ? 10 ** value : value);
    const edges = ax.range.map((value) => raw(ax, value)), worst = raw(ay, ay.range[0]), shape = x.better === "lower" ? "hv" : "vh";
    const corners = points.filter((point) => point.ahead).map((point) => [point.x, point.y]).sort(([one], [other]) => one - other);
    const flat = { mode: "lines", hoverinfo: "skip", line: { shape, width: 0 } };
    const same = (given, row) => Object.entries(given).every(([name, value]) => String(row[name]) === value);
    const { cost, quality: held } = points[0];
    const lone = distinct(points.map((point) => who({ ...point.cost, arch: "" }))).length === 1;
    const band = lone && data.bands.find((one) => one.metric === cost.metric && held.metric === "perplexity" && one.label === cost.label && one.size === cost.size && same(one.cost, cost) && same(one.quality, held));
    const traces = [];
    if (band) {
      const { best, worst: least } = band.surfaces;
      const at = distinct([...edges, ...[...best, ...least, ...corners].map(([place]) => place)]).filter((place) => edges[0] <= place && place <= edges[1]).sort((one, other) => one - other);
      traces.push({ ...flat, x: at, y: stairs(least, at, sign(x), sign(y), worst) }, { ...flat, x: at, y: stairs(best, at, sign(x), sign(y), worst), fill: "tonexty", fillcolor: ink("band") });
    }
    const at = distinct([...edges, ...corners.map(([place]) => place)]).sort((one, other) => one - other);
    const path = at.map((place, i) => [place, stairs(corners, at, sign(x), sign(y), worst)[i]]).filter(([, reached]) => reached !== worst);
    const foot = [path.at(sign(x) > 0 ? 0 : -1)[0], worst];
    const line = sign(x) > 0 ? [foot, ...path] : [...path, foot];
    traces.push({ x: line.map(([place]) => place), y: line.map(([, place]) => place), mode: "lines", hoverinfo: "skip", line: { shape, dash: "dash", width: 1.6, color: ink("ink") } });
    const faint = (point) => (names.includes(state.only) && point.arch !== state.only ? HIDDEN : point.ahead ? 1 : dark() ? 0.6 : 0.45);
    const told = (point) => [
      ["architecture", point.arch], ["machine", `${point.cost.label}, size ${point.cost.size}`],
      [y.label.toLowerCase(), reach(point.quality, y)], [valued(x).toLowerCase(), reach(point.cost, x)],
      ["on the frontier", point.ahead ? "yes" : "no: beaten in both"], ["cost at", point.cost.at], ["trained for", point.quality.at],
      ["learning rate", point.quality.lr + (point.quality.lr_at_edge ? " (edge)" : "")], ...merged(point.quality.source, point.cost.source),
    ];
    for (const [, own] of groups(points, (point) => JSON.stringify([point.arch, point.ahead]))) {
      const lines = own.map(told), look = data.archs[own[0].arch];
      traces.push({
        x: own.map((point) => point.x), y: own.map((point) => point.y), mode: "markers", opacity: faint(own[0]), told: lines,
        error_x: bars(own.map((point) => point.cost)), error_y: bars(own.map((point) => point.quality)),
        marker: { symbol: look.symbol, color: colour(own[0].arch), size: own[0].ahead ? 14 : 11, line: { color: ink("paper"), width: 1 } },
        customdata: lines.map(hover), hovertemplate: "%{customdata}<extra></extra>",
      });
    }
    const visible = points.filter((point) => faint(point) > HIDDEN).sort((one, other) => other.ahead - one.ahead || sign(y) * (one.y - other.y));
    const labels = labelled(visible, ax, ay, ...size(section));
    labels.push({ xref: "paper", yref: "paper", x: sign(x) > 0 ? 0 : 1, y: 1, xanchor: sign(x) > 0 ? "left" : "right", yanchor: "bottom", showarrow: false, text: sign(x) > 0 ? "<i>↖ better</i>" : "<i>better ↗</i>", font: { color: css("good") } });
    render(section, traces, { annotations: labels, xaxis: { ...ax, title: title(x) }, yaxis: { ...ay, title: title(y) } }, points.map(told));
    const failed = distinct(rows.filter((row) => row.label === cost.label && row.size === cost.size).map((row) => row.arch)).filter((arch) => !names.includes(arch));
    const why = (arch) => { const row = spent.find((one) => one.arch === arch && one.value === null); return `${arch} (${row ? FAILURES[row.status] ?? row.status : "not measured here"})`; };
    note.textContent = `Cost: ${cost.at}. Quality: ${held.at}. ${band ? "Tinted: where the frontier lies in 95 % of cases if seeds and steps are redrawn. " : ""}${lone && failed.length ? `Not drawn: ${failed.map(why).join(", ")}.` : ""}`;
  }

  // at each length one batch: measured for most architectures, then lengths, then the largest
  function usualBatch(rows) {
    const lengths = new Map([...groups(rows, (row) => row.batch)].map(([batch, own]) => [batch, distinct(own.map((row) => row.seq_len)).length]));
    return [...groups(rows, (row) => row.seq_len).values()].flatMap((own) => {
      const batches = [...groups(own, (row) => row.batch)].map(([batch, some]) => [distinct(some.map((row) => row.arch)).length, lengths.get(batch), batch, some]);
      return batches.sort((one, other) => other[0] - one[0] || other[1] - one[1] || other[2] - one[2])[0][3];
    });
  }

  function drawLength(section) {
    const costly = rows.filter((row) => ["train", "prefill", "decode"].includes(row.phase) && row.metric !== "parameters" && row.status !== "unknown");
    const named = (value) => { const [metric, phase] = value.split("|"); return `${metricName(metric)}, ${phase}`; };
    const shown = refill(section, (box) => {
      const own = narrow(box, costly, [
        { key: "lm", name: "Cost", of: (row) => `${row.metric}|${row.phase}`, text: named },
        key("label", "Hardware", { key: "ll" }), key("size", "Size", { key: "ls" }), key("mode", "Mode", { key: "lmode" }), key("how", "Run with", { key: "lhow" }),
        key("batch", "Batch", { key: "lb", extra: USUAL, usual: usualBatch }),
      ]);
      tick(box, "llogx", "log length");
      tick(box, "llogy", "log cost");
      return own;
    });
    const reached = shown.filter((row) => row.value !== null), names = distinct(shown.map((row) => row.arch)).sort();
    legend(section, names);
    if (!reached.length) {
      $(".note", section).textContent = "Nothing finished here.";
      Plotly.purge($(".canvas", section));
      return;
    }
    const metric = data.metrics[reached[0].metric], whole = metric.unit === "fraction" ? [1] : [];
    const log = state.llogy !== "0" && reached.every((row) => row.low > 0), lengths = distinct(shown.map((row) => row.seq_len)).sort((one, other) => one - other);
    const ay = axis([...whole, ...reached.flatMap((row) => [row.low, row.high])], metric, log, false, 0.08);
    const ax = { ...axis(lengths, { unit: "tokens" }, state.llogx !== "0", false, 0.05), tickvals: lengths, ticktext: lengths.map(showLength) };
    if (!slim()) ax.range[1] += (ax.range[1] - ax.range[0]) * 0.05; // names stand at the ends
    const told = (row) => [
      ["architecture", row.arch], ["length", showLength(row.seq_len)], [valued(metric).toLowerCase(), reach(row, metric)], ["machine", `${row.label}, size ${row.size}`],
      ["at", row.at], ...Object.entries(row.source),
    ];
    const traces = [];
    if (whole.length) traces.push({ x: [lengths[0], lengths.at(-1)], y: [1, 1], mode: "lines", hoverinfo: "skip", line: { dash: "dot", width: 1.5, color: ink("soft") } });
    for (const arch of names) {
      const own = shown.filter((row) => row.arch === arch).sort((one, other) => one.seq_len - other.seq_len);
      const done = own.filter((row) => row.value !== null), wall = own.find((row) => row.value === null && FAILURES[row.status]);
      const look = data.archs[arch], opacity = names.includes(state.only) && state.only !== arch ? HIDDEN : 1, lines = done.map(told);
      traces.push({
        x: done.map((row) => row.seq_len), y: done.map((row) => row.value), mode: "lines+markers", opacity, told: lines, customdata: lines.map(hover),
        hovertemplate: "%{customdata}<extra></extra>", error_y: bars(done), line: { color: colour(arch), dash: look.dash, width: 2 },
        marker: { symbol: done.map((row) => look.symbol + (row.status === "in cache" ? "-open" : "")), size: 9, color: colour(arch) },
      });
      const before = wall && done.filter((row) => row.seq_len < wall.seq_len).at(-1);
      if (!before) continue;
      traces.push({ x: [before.seq_len, wall.seq_len], y: [before.value, before.value], mode: "lines+markers+text", opacity, text: ["", FAILURES[wall.status]], textposition: "top center", told: [told(before), told(wall)], customdata: [told(before), told(wall)].map(hover), hovertemplate: "%{customdata}<extra></extra>", line: { color: colour(arch), dash: "dot", width: 1.5 }, marker: { symbol: "x-thin", size: [0, 11], line: { color: colour(arch), width: 3 } } });
    }
    const ends = names.filter((arch) => !names.includes(state.only) || arch === state.only).flatMap((arch) => reached.filter((row) => row.arch === arch)
      .sort((one, other) => other.seq_len - one.seq_len).slice(0, 1).map((row) => ({ arch, x: row.seq_len, y: row.value })));
    const annotations = slim() ? [] : labelled(ends, ax, ay, ...size(section));
    const context = reached[0].phase === "decode" ? "Context length" : "Sequence length";
    render(section, traces, { annotations, xaxis: { ...ax, title: { text: `${context} (tokens)`, standoff: 10 } }, yaxis: { ...ay, title: title(metric) } }, shown.map(told));
    const batches = distinct(reached.map((row) => row.batch)), steps = distinct(reached.map((row) => row.batch * row.seq_len));
    const per = batches.length === 1 ? `batch ${batches[0]}` : steps.length === 1 ? `${steps[0].toLocaleString("en")} tokens a step` : `batch ${Math.min(...batches)} to ${Math.max(...batches)}, by length`;
    const stopped = shown.filter((row) => row.value === null && FAILURES[row.status]).map((row) => `${row.arch} at ${showLength(row.seq_len)} (${FAILURES[row.status]})`);
    $(".note", section).textContent = `${reached[0].label}, size ${reached[0].size} · ${reached[0].phase} · ${per} · ${reached[0].how} · ${reached[0].mode}. Bars: the middle half of the timed steps.${reached.some((row) => row.status === "in cache") ? " Hollow: what must move fits in cache, only arithmetic counts." : ""}${stopped.length ? ` Did not finish: ${stopped.join(", ")}.` : ""}`;
  }

  for (const section of $$(".explorer")) {
    const name = section.id;
    $("[data-save=svg]", section).addEventListener("click", () => Plotly.downloadImage($(".canvas", section), { format: "svg", filename: name, width: 1000, height: 600 }));
    $("[data-save=json]", section).addEventListener("click", () => save(`${name}.json`, JSON.stringify(section.points.map(Object.fromEntries), null, 1)));
    $("[data-save=csv]", section).addEventListener("click", () => save(`${name}.csv`, csv([section.points[0].map(([label]) => label), ...section.points.map((lines) => lines.map(([, value]) => value))])));
  }
  function draw() {
    drawFrontier($("#frontier"));
    drawLength($("#length"));
  }
  draw();
  let width = innerWidth;
  addEventListener("resize", () => { if (innerWidth !== width) { width = innerWidth; draw(); } });
  media("(prefers-color-scheme: dark)").addEventListener("change", draw);
  addEventListener("beforeprint", () => { paper = true; printing(); draw(); });
  addEventListener("afterprint", () => { paper = false; draw(); });
  document.documentElement.dataset.ready = "";
})();
