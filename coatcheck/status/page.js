// Draws the facts of this installation, again and again. Texts are only ever set as text, never as markup.
"use strict";

const LOOK_MILLISECONDS = 2000;
const STALE_MILLISECONDS = 10000;
const PATIENCE_MILLISECONDS = 12000;
const SVG = "http://www.w3.org/2000/svg";
const byId = (id) => document.getElementById(id);
const DATABASE_RUNBOOK = "CoatcheckDatabaseFails";
let lastLook = 0;
let shownJob = "";
let jobIsOver = false;

function make(tag, className = "", text = "") {
  const element = document.createElement(tag);
  if (className) element.className = className;
  if (text !== "") element.textContent = text;
  return element;
}

function draw(tag, attributes, ...children) {
  const element = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

function count(number, capped = false) {
  return number.toLocaleString("en") + (capped ? "+" : "");
}

function rate(perSecond) {
  if (perSecond === 0) return "0/s";
  return (perSecond >= 100 ? perSecond.toFixed(0) : perSecond.toFixed(perSecond >= 10 ? 1 : 2)) + "/s";
}

function time(seconds) {
  if (seconds === null || seconds === undefined) return "–";
  if (seconds < 1) return Math.round(seconds * 1000) + " ms";
  if (seconds < 100) return seconds.toFixed(1) + " s";
  if (seconds < 6000) return Math.round(seconds / 60) + " min";
  return seconds < 172800 ? Math.round(seconds / 3600) + " h" : Math.round(seconds / 86400) + " d";
}

function ago(moment, now) {
  return time(Math.max(0, (now - Date.parse(moment)) / 1000)) + " ago";
}

const mean = (values) => values.length ? values.reduce((sum, value) => sum + value, 0) / values.length : 0;

// A line through the values, with gaps where there are none; `top` is the value at the upper edge.
function line(values, top) {
  let path = "";
  let pen = false;
  values.forEach((value, index) => {
    if (value === null) { pen = false; return; }
    const x = (index / Math.max(1, values.length - 1)) * 100;
    const y = 25 - (top ? (value / top) * 23 : 0);
    const alone = !pen && (index + 1 === values.length || values[index + 1] === null);
    path += `${pen ? "L" : "M"}${x.toFixed(2)} ${y.toFixed(2)}` + (alone ? "h1" : "");
    pen = true;
  });
  return path;
}

function spark(lines, label, className = "") {
  const top = Math.max(0, ...lines.flatMap(([, values]) => values.filter((value) => value !== null)));
  const svg = draw("svg", { viewBox: "0 0 100 26", preserveAspectRatio: "none", role: "img", "aria-label": label });
  svg.append(draw("path", { class: "base", d: "M0 25.5H100" }));
  for (const [className, values] of lines) {
    if (className === "out" && top) svg.append(draw("path", { class: "area", d: line(values, top) + "L100 25L0 25Z" }));
    svg.append(draw("path", { class: className, d: line(values, top) }));
  }
  const box = make("span", `spark ${className}`.trim());
  box.append(svg, make("span", "quiet", label));
  return box;
}

function bar(parts, whole, className = "") {
  const svg = draw("svg", { viewBox: "0 0 100 10", preserveAspectRatio: "none", class: className, "aria-hidden": "true" });
  svg.append(draw("rect", { class: "back", width: 100, height: 10, rx: 2 }));
  for (const [kind, from, size] of parts) {
    const width = whole ? Math.min(100, (size / whole) * 100) : 0;
    const x = whole ? Math.min(100, (from / whole) * 100) : 0;
    svg.append(draw("rect", { class: kind, x: x.toFixed(3), width: Math.max(size ? 0.6 : 0, width).toFixed(3), height: 10 }));
  }
  return svg;
}

function cell(className, text, label = "") {
  const span = make("span", className, text);
  span.setAttribute("role", "cell");
  if (label) span.dataset.label = label;
  return span;
}

function row(className, ...cells) {
  const box = make("div", className ? `row ${className}` : "row");
  box.setAttribute("role", "row");
  box.append(...cells);
  return box;
}

function fill(id, rows, whenEmpty) {
  byId(id).replaceChildren(...(rows.length ? rows : [make("p", "empty", whenEmpty)]));
}

function showVerdict(concerns) {
  const box = byId("verdict");
  box.className = `verdict ${concerns.length ? "bad" : "good"}`;
  document.title = concerns.length ? `(${concerns.length}) Coatcheck: ${concerns[0].says}` : "Coatcheck status";
  const lines = (concerns.length ? concerns : [{ says: "All is well." }]).map(({ says, runbook }) => {
    const line = make("p", "", says);
    if (runbook) line.append(" ", make("small", "", `Runbook: ${runbook}`));
    return line;
  });
  if (box.textContent !== lines.map((line) => line.textContent).join("")) box.replaceChildren(...lines);
}

function showTotals(facts) {
  const sum = (pick) => facts.modalities.reduce((total, each) => total + pick(each), 0);
  const minutes = Math.round(facts.window_seconds / 60);
  const capped = facts.modalities.some((each) => each.pending_capped);
  const oldest = Math.max(...facts.modalities.map((each) => each.oldest_seconds));
  const recent = (values) => mean(values.slice(-6));
  const totals = [
    ["Waiting", count(sum((each) => each.pending), capped), oldest ? `oldest ${time(oldest)}` : ""],
    ["Running", count(sum((each) => each.processing)), ""],
    ["Ended, last minute", rate(sum((each) => recent(each.series.ended_per_second))), ""],
    [`Failed in ${minutes} min`, count(sum((each) => each.series.failed)),
      `of ${count(sum((each) => each.series.failed + each.series.completed))}`],
  ];
  byId("totals").replaceChildren(...totals.map(([name, value, more]) => {
    const box = make("div");
    const shown = make("dd", "", value);
    if (more) shown.append(" ", make("small", "", more));
    box.append(make("dt", "", name), shown);
    return box;
  }));
  byId("window").textContent = `the last ${minutes} minutes`;
}

function modality(each) {
  const series = each.series;
  const idle = !each.pending && !each.processing && !series.accepted && !series.completed && !series.failed;
  const now = rate(mean(series.ended_per_second.slice(-6)));
  return row(idle ? "idle" : "",
    cell("", each.name),
    cell("number", count(each.pending, each.pending_capped), "Waiting"),
    cell("number", count(each.processing, each.processing_capped), "Running"),
    cell(each.due_seconds > 60 ? "number alarm" : "number", each.oldest_seconds ? time(each.oldest_seconds) : "–", "Oldest waits"),
    spark(idle ? [] : [["in", series.accepted_per_second], ["out", series.ended_per_second]], idle ? "" : now),
    spark([["half", series.p50s], ["slow", series.p95s]],
      series.p50 === null ? "" : `${time(series.p50)}, ${time(series.p95)}`, "times"),
    cell(series.failed ? "number badge" : "number", count(series.failed), "Failed"));
}

function process(each, partial) {
  const holds = Object.entries(each.holds).map(([name, jobs]) => `${count(jobs)} ${name}`).join(", ");
  const silent = each.seconds_ago === null || each.seconds_ago > 15;
  const busy = partial ? each.busy : Object.values(each.holds).reduce((sum, jobs) => sum + jobs, 0);
  const load = make("span", "fill");
  if (each.slots) {
    load.append(bar([["front", 0, busy]], each.slots), make("span", "quiet", `${count(busy)} of ${count(each.slots)}`));
  }
  const longest = holds && each.longest_seconds ? `, the longest ${time(each.longest_seconds)}` : "";
  return row("",
    cell("", each.component || "gone"),
    cell("long", each.name),
    cell("quiet version", each.version),
    load,
    cell("holds", holds + longest),
    cell(silent ? "number alarm" : "number quiet", each.seconds_ago === null ? "silent" : time(each.seconds_ago) + " ago"));
}

function cause(each, now) {
  const link = make("a", "", ago(each.last_at, now));
  link.href = `#job=${each.last_job}`;
  link.title = `the newest of them: ${each.last_job}`;
  const last = cell("number", "");
  last.append(link);
  return row("",
    cell("badge", `${count(each.count)}×`),
    cell("", `${each.provider}, ${each.modality}`),
    cell("number", String(each.status_code)),
    cell("words long", each.words),
    last);
}

function show(facts) {
  const now = Date.parse(facts.at);
  showVerdict(facts.concerns);
  showTotals(facts);
  fill("modalities", facts.modalities.map(modality), "no modality");
  byId("partial").textContent = facts.held_partial ? "who holds what: a part of the running jobs" : "";
  fill("processes", facts.processes.map((each) => process(each, facts.held_partial)), "No process has reported in the last half minute.");
  byId("failures-window").textContent = `the last ${Math.round(facts.failure_seconds / 60)} minutes` +
    (facts.failures >= 500 ? ", the newest 500" : "");
  fill("causes", facts.causes.map((each) => cause(each, now)), facts.causes_problem || "No job failed.");
  fill("paused", facts.paused.map((each) => make("p", "alarm", `${each.channel}: ${time(each.seconds)} more`)), "None.");
  byId("footer").textContent = `The database answered in ${facts.database_milliseconds} ms. Read-only; bodies are never shown.`;
  byId("now").hidden = false;
}

function stepLine(step, until) {
  const item = make("li");
  const kind = step.kind === "call" || step.kind === "waited" || step.kind === "recorded" ? step.kind : "rest";
  const tone = step.good === true ? "good" : step.good === false ? "bad" : "";
  item.append(make("span", "number quiet", `+${step.at.toFixed(3)} s`),
    make("span", "number", step.seconds ? time(step.seconds) : ""),
    step.seconds ? bar([[kind, step.at, step.seconds]], until) : make("span"),
    make("span", `words long ${tone}`, step.text));
  return item;
}

const KINDS = { "waiting for a worker": "waited", "in the provider": "call", "recording": "recorded" };

function showStory(job) {
  const close = make("button", "", "close");
  close.type = "button";
  close.addEventListener("click", () => { location.hash = ""; });
  const title = make("h2", "", job.id);
  title.append(close);
  const spent = Object.entries(job.timeline.spent);
  const legend = make("p", "legend");
  const parts = [];
  let from = 0;
  for (const [name, seconds] of spent) {
    const kind = KINDS[name] || "rest";
    parts.push([kind, from, seconds]);
    from += seconds;
    const entry = make("span");
    entry.append(bar([[kind, 0, 1]], 1), `${name} ${time(seconds)}`);
    legend.append(entry);
  }
  const steps = make("ol");
  steps.append(...job.timeline.steps.map((step) => stepLine(step, job.timeline.until)));
  const facts = [`${job.status}, ${job.type}, ${job.targets.join(" then ")}`,
    `accepted ${job.created_at.slice(0, 19).replace("T", " ")} UTC, ${time(job.timeline.until)} ${job.status === "completed" || job.status === "failed" ? "to the end" : "so far"}; ` +
    `claims ${job.claims}, failures ${job.failures}, crashes ${job.crashes}, given back ${job.releases}`];
  if (job.error) facts.push(`error: ${job.error}`);
  const box = byId("job");
  box.replaceChildren(title, ...facts.map((text, index) => make("p", index ? "quiet" : "", text)),
    bar(parts, from, "split"), legend, steps);
  box.hidden = false;
}

function complainAboutJob(text) {
  byId("job").replaceChildren(make("p", "bad", text));
  byId("job").hidden = false;
}

function ask(path) {
  return fetch(path, { signal: AbortSignal.timeout(PATIENCE_MILLISECONDS) });
}

async function lookAtJob() {
  if (!shownJob) return;
  const asked = shownJob;
  try {
    const answer = await ask(`status/job/${encodeURIComponent(asked)}`);
    const told = answer.ok ? await answer.json() : (await answer.text()).trim();
    if (asked !== shownJob) return;
    if (answer.ok) showStory(told);
    else complainAboutJob(told);
    jobIsOver = answer.ok ? ["completed", "failed"].includes(told.status) : answer.status < 500;
  } catch (error) {
    complainAboutJob("this process does not answer");
  }
}

function followHash() {
  const found = /^#job=(.*)$/.exec(location.hash);
  shownJob = found ? decodeURIComponent(found[1]) : "";
  byId("job-id").value = shownJob;
  jobIsOver = false;
  if (!shownJob) byId("job").hidden = true;
  lookAtJob();
}

async function look() {
  if (document.visibilityState === "visible") {
    try {
      const answer = await ask("status/facts");
      if (answer.ok) { show(await answer.json()); lastLook = Date.now(); }
      else showVerdict([{ says: `No facts: ${(await answer.text()).trim()}.`, runbook: DATABASE_RUNBOOK }]);
    } catch (error) {
      showVerdict([{ says: "This process does not answer any more.", runbook: "CoatcheckTargetDown" }]);
    }
    if (shownJob && !jobIsOver) lookAtJob();
  }
  setTimeout(look, LOOK_MILLISECONDS);
}

function tick() {
  const age = Date.now() - lastLook;
  const stale = lastLook > 0 && age > STALE_MILLISECONDS;
  byId("age").textContent = lastLook ? (stale ? `${time(age / 1000)} old` : "live") : "";
  byId("age").className = stale ? "stale" : "";
  document.body.classList.toggle("stale", stale);
}

byId("find").addEventListener("submit", (event) => {
  event.preventDefault();
  location.hash = `job=${byId("job-id").value.trim()}`;
});
addEventListener("hashchange", followHash);
setInterval(tick, 500);
followHash();
look();
