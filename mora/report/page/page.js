const runs = JSON.parse(document.getElementById("data").textContent).runs;
const page = document.getElementById("page");

// m = β·m + (1 − β)·x without the bias of its start, as the progress line has it.
function smooth(values) {
  let mean = 0, weight = 0;
  return values.map((x) => {
    if (!Number.isFinite(x)) return weight ? mean / weight : null;
    mean = 0.95 * mean + 0.05 * x;
    weight = 0.95 * weight + 0.05;
    return mean / weight;
  });
}

function duration(seconds) {
  const s = Math.round(seconds);
  if (s < 60) return `${s} s`;
  return s < 3600 ? `${Math.floor(s / 60)} min ${s % 60} s` : `${Math.floor(s / 3600)} h ${Math.floor(s / 60) % 60} min`;
}

const counted = (n, what) => `${n} ${what}${n === 1 ? "" : "s"}`;
const column = (run, name) => run.updates[name] || [];
const last = (values) => values[values.length - 1];
const largerIsBetter = (metric) => !["loss", "log_loss", "mse", "perplexity"].includes(metric);
const LEADING = ["accuracy", "perplexity", "pearson"];
const leading = (run) => LEADING.find((name) => run.valid.some((v) => Number.isFinite(v[name]))) || "loss";

function best(run, metric) {
  const values = run.valid.map((v) => v[metric]).filter(Number.isFinite);
  return values.length ? (largerIsBetter(metric) ? Math.max(...values) : Math.min(...values)) : null;
}

const marksOf = (run) => run.events.filter((e) => e.step > 0 && e.kind !== "sample").map((e) => ({x: e.step, text: `${e.kind}, step ${e.step}${e.mean_rank ? `: mean rank ${number(e.mean_rank)}` : ""}`}));

function legend(series) {
  return make("div", {class: "legend"}, ...series.map((s) => make("span", {}, make("i", {style: `background:${s.colour}${s.faint ? ";opacity:.4" : ""}`}), s.name)));
}

function card(title, hint, wide, ...content) {
  return make("section", {class: wide ? "card wide" : "card"}, make("h2", {}, title), hint ? make("p", {class: "hint"}, hint) : null, ...content);
}

function chartCard(title, hint, series, options = {}) {
  const shown = series.filter((s) => s.y.some(Number.isFinite));
  if (!shown.length) return null;
  return card(title, hint, options.wide, shown.length > 1 ? legend(shown) : null, lineChart(shown, options));
}

function tiles(pairs) {
  return make("div", {class: "tiles"}, ...pairs.filter(([value]) => value !== null).map(([value, name]) => make("div", {class: "tile"}, make("b", {}, value), make("span", {}, name))));
}

function heading(title, text) {
  document.title = `${title} · MoRA`;
  return make("header", {}, make("h1", {}, title), make("p", {}, text));
}

function runTiles(run) {
  const result = run.result || {}, metric = leading(run), smoothed = last(smooth(column(run, "loss")));
  return tiles([
    [Number.isFinite(smoothed) ? number(smoothed) : null, "training loss, smoothed"],
    [run.valid.length ? number(best(run, "loss")) : null, "best validation loss"],
    [metric !== "loss" ? number(best(run, metric)) : null, `best ${metric}`],
    [number(last(column(run, "step"))), "updates"],
    [column(run, "seconds").length ? duration(last(column(run, "seconds"))) : null, "training time"],
    [result.tokens_per_second ? number(Math.round(result.tokens_per_second)) : null, "tokens a second"],
    [result.trainable_parameters ? result.trainable_parameters.toLocaleString("en") : null, "trained parameters"],
    [result.peak_memory_bytes ? `${Math.round(result.peak_memory_bytes / 2 ** 20)} MiB` : null, "peak memory"],
  ]);
}

function lossSeries(run) {
  const x = column(run, "step"), valid = run.valid.filter((v) => Number.isFinite(v.loss));
  return [{name: "update", x, y: column(run, "loss"), colour: COLOURS[0], faint: true},
          {name: "smoothed", x, y: smooth(column(run, "loss")), colour: COLOURS[0]},
          {name: "validation", x: valid.map((v) => v.step), y: valid.map((v) => v.loss), colour: COLOURS[1], dots: true}];
}

function updateCard(run, title, hint, name, colour, options) {
  return chartCard(title, hint, [{name, x: column(run, "step"), y: column(run, name), colour}], options);
}

function metricsCard(run) {
  const names = ["accuracy", "f1_macro", "mcc", "roc_auc", "pearson", "spearman"];
  const x = run.valid.map((v) => v.step);
  return run.valid.length < 2 ? null : chartCard("Validation metrics", "", names.map((name, i) => ({name, x, y: run.valid.map((v) => v[name]), colour: COLOURS[i], dots: true})));
}

function confusionCard(run) {
  const counts = (last(run.valid) || {}).confusion;
  if (!counts || counts.length > 20) return null;
  const label = (k) => run.labels[k] || String(k);
  const rows = counts.map((row, t) => {
    const total = row.reduce((p, q) => p + q, 0) || 1;
    return make("tr", {}, make("th", {}, label(t)), ...row.map((n, p) => {
      const share = n / total;
      const cell = make("td", {style: `background:rgba(var(--heat),${(0.05 + 0.75 * share).toFixed(3)})${share > 0.6 ? ";color:var(--card)" : ""}`}, String(n));
      hover(cell, `${label(t)} taken for ${label(p)}: ${n} of ${total} (${(100 * share).toFixed(1)} %)`);
      return cell;
    }));
  });
  const head = make("thead", {}, make("tr", {}, make("th", {}, "true ↓ predicted →"), ...counts.map((_, k) => make("th", {}, label(k)))));
  return card("Confusion matrix", `last evaluation, step ${last(run.valid).step}; colour is the share of the true label`, false, make("div", {class: "scroll"}, make("table", {class: "matrix"}, head, make("tbody", {}, ...rows))));
}

function calibrationCard(run) {
  if (!run.calibration.length) return null;
  const rows = run.calibration.reduce((n, bin) => n + bin.rows, 0);
  const error = run.calibration.reduce((sum, bin) => sum + bin.rows / rows * Math.abs(bin.accuracy - bin.confidence), 0);
  return chartCard("Calibration", `how often a prediction is right, by its confidence; expected calibration error ${number(error)}`,
    [{name: "accuracy", x: run.calibration.map((b) => b.confidence), y: run.calibration.map((b) => b.accuracy), colour: COLOURS[2], dots: true},
     {name: "ideal", x: [0, 1], y: [0, 1], colour: "var(--soft)", faint: true}], {xName: "confidence", xRange: [0, 1], yRange: [0, 1]});
}

function hardestCard(run) {
  if (!run.hardest.length) return null;
  const shown = (v) => (typeof v === "number" ? number(v) : String(v));
  const rows = run.hardest.map((r) => make("tr", {}, make("td", {class: "text"}, r.text), make("td", {}, shown(r.truth)), make("td", {}, shown(r.predicted)), make("td", {class: "n"}, number(r.loss))));
  const head = make("tr", {}, ...["text", "truth", "predicted"].map((t) => make("th", {}, t)), make("th", {class: "n"}, "loss"));
  return card("Hardest validation examples", "the largest losses of the last evaluation", true, make("div", {class: "scroll"}, make("table", {}, head, ...rows)));
}

function samplesCard(run) {
  const samples = run.events.filter((e) => e.kind === "sample");
  const prompts = [...new Set(samples.map((s) => s.prompt))];
  const row = (s) => make("tr", {}, make("td", {class: "n"}, `step ${s.step}`), make("td", {class: "text said"}, s.text));
  const table = (prompt) => make("div", {class: "scroll"}, make("table", {}, make("tr", {}, make("th", {}, ""), make("th", {class: "said"}, prompt)), ...samples.filter((s) => s.prompt === prompt).map(row)));
  return samples.length ? card("Sample texts", "what the model wrote while it was trained, under each prompt", true, ...prompts.map(table)) : null;
}

function commandCard(run) {
  const copy = make("button", {type: "button"}, "copy");
  copy.addEventListener("click", () => navigator.clipboard.writeText(run.command).then(() => { copy.textContent = "copied"; }));
  return card("Train it again", "", true, copy, make("pre", {}, run.command));
}

function folded(title, text) {
  return text ? make("details", {class: "card wide"}, make("summary", {}, title), make("pre", {}, text)) : null;
}

function reportPage(run) {
  const ranks = run.events.filter((e) => e.ranks), marks = marksOf(run);
  const environment = run.environment ? JSON.stringify(run.environment, null, 2) : "";
  page.append(heading(run.name, `${counted(last(column(run, "step")) || 0, "update")}, ${counted(run.valid.length, "evaluation")}`), runTiles(run));
  page.append(make("div", {class: "grid"}, ...[
    chartCard("Loss", "", lossSeries(run), {wide: true, marks}),
    updateCard(run, "Learning rate", marks.length ? "dashed: rank events and the like" : "", "lr", COLOURS[3], {marks}),
    updateCard(run, "Gradient norm", "before clipping", "grad_norm", COLOURS[4]),
    metricsCard(run), calibrationCard(run), confusionCard(run),
    updateCard(run, "Mean rank", "", "mean_rank", COLOURS[5], {marks}),
    updateCard(run, "Loss scale", "", "loss_scale", COLOURS[2]),
    updateCard(run, "Active experts", "mean per token", "active_experts", COLOURS[2]),
    updateCard(run, "Expert load", "busiest expert ÷ fair share", "expert_load_max", COLOURS[1]),
    updateCard(run, "Steps of computation", "mean per token", "act_steps", COLOURS[5]),
    ranks.length > 1 ? card("Rank of every layer", "darker is higher; hover for the number", true, rankMap(ranks, last(column(run, "step")))) : null,
    hardestCard(run), samplesCard(run), commandCard(run), folded("Configuration", run.config), folded("Environment", environment),
  ].filter(Boolean)));
}

// The settings in which the runs differ: [key, [value of each run]].
function differences() {
  const flat = runs.map((run) => {
    const values = {}, stack = [];
    for (const line of run.config.split("\n")) {
      const match = line.match(/^( *)([\w.]+): ?(.*)$/);
      if (!match) continue;
      stack.length = match[1].length / 2;
      stack.push(match[2]);
      if (match[3]) values[stack.join(".")] = match[3];
    }
    return values;
  });
  const keys = [...new Set(flat.flatMap(Object.keys))].filter((key) => key !== "out" && new Set(flat.map((f) => f[key])).size > 1);
  return keys.map((key) => [key, flat.map((f) => f[key] || "–")]);
}

function comparisonTable() {
  const metrics = ["loss", ...LEADING].filter((name) => runs.some((run) => best(run, name) !== null));
  const rows = metrics.map((name) => {
    const values = runs.map((run) => best(run, name)), known = values.filter(Number.isFinite);
    const top = largerIsBetter(name) ? Math.max(...known) : Math.min(...known);
    return make("tr", {}, make("th", {}, `best validation ${name}`), ...values.map((v) => make("td", {class: v === top ? "n best" : "n"}, number(v))));
  });
  const plain = (name, values) => make("tr", {}, make("th", {}, name), ...values.map((v) => make("td", {class: "n"}, v)));
  rows.push(plain("updates", runs.map((run) => number(last(column(run, "step"))))));
  rows.push(plain("training time", runs.map((run) => duration(last(column(run, "seconds")) || 0))));
  rows.push(plain("trained parameters", runs.map((run) => (run.result ? run.result.trainable_parameters.toLocaleString("en") : "–"))));
  rows.push(...differences().map(([key, values]) => plain(key, values)));
  const head = make("tr", {}, make("th", {}, ""), ...runs.map((run) => make("th", {class: "n"}, run.name)));
  return card("Side by side", "best values, and the settings in which the runs differ", true, make("div", {class: "scroll"}, make("table", {}, head, ...rows)));
}

function comparePage() {
  const each = (x, y) => runs.map((run, i) => ({name: run.name, x: x(run), y: y(run), colour: COLOURS[i % COLOURS.length]}));
  const steps = (run) => column(run, "step"), metrics = ["loss", ...LEADING];
  const validation = metrics.map((name) => chartCard(`Validation ${name}`, "", each((run) => run.valid.map((v) => v.step), (run) => run.valid.map((v) => v[name])).map((s) => ({...s, dots: true}))));
  page.append(heading(`${runs.length} runs`, runs.map((run) => run.name).join(" · ")));
  page.append(make("div", {class: "grid"}, ...[
    comparisonTable(),
    chartCard("Training loss, smoothed", "", each(steps, (run) => smooth(column(run, "loss"))), {wide: true}),
    ...validation,
    chartCard("Learning rate", "", each(steps, (run) => column(run, "lr"))),
    chartCard("Gradient norm", "smoothed", each(steps, (run) => smooth(column(run, "grad_norm")))),
    chartCard("Mean rank", "", each(steps, (run) => column(run, "mean_rank"))),
  ].filter(Boolean)));
}

function draw() {
  page.replaceChildren();
  if (runs.length === 1) reportPage(runs[0]); else comparePage();
}

draw();
narrow.addEventListener("change", draw);
