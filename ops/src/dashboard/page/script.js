// The page. It is told everything by server-sent events, and draws it. Whatever comes from outside
// goes in as text, never as HTML.

import { plot, svg, timeline, TIME_STEPS } from "./chart.js";

// The server pushes at least every 5 s. After this nothing that is shown counts as being so.
const CUT_OFF_MS = 15_000;
const KEPT_MS = 12 * 3600_000;

const $ = (id) => document.getElementById(id);
let about = { remedies: {}, limits: {} }, points = [], picture = null;
let heard = null;
let connected = false;
let minutes = 15;

function el(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value !== null && value !== undefined && value !== false) made.setAttribute(key, value === true ? "" : value);
  }
  made.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== ""));
  return made;
}

// ---- words

const group = (number) => (number === null || number === undefined ? "–" : Math.round(number).toString().replace(/\B(?=(\d{3})+$)/g, ","));
const count = (number, what) => `${group(number)} ${what}${number === 1 ? "" : "s"}`;

// As the program says it: 0.3 s, 40 s, 3 min, 2 h, 5 days.
function age(ms) {
  if (ms === null || ms === undefined) return "–";
  const s = Math.floor(ms / 1000);
  if (s < 10) return `${(Math.floor(ms / 100) / 10).toFixed(1)} s`;
  if (s < 120) return `${s} s`;
  if (s < 7200) return `${Math.floor(s / 60)} min`;
  if (s < 172800) return `${Math.floor(s / 3600)} h`;
  return `${Math.floor(s / 86400)} days`;
}

// On axes: without a tenth that says nothing.
function span(ms) {
  if (ms === 0) return "0";
  if (ms < 1000) return `${ms} ms`;
  if (ms < 60e3) return `${ms / 1000} s`;
  if (ms < 3600e3) return `${ms / 60e3} min`;
  if (ms < 86400e3) return `${ms / 3600e3} h`;
  return `${ms / 86400e3} d`;
}

// What is measured in milliseconds is said in them while it is short.
const short = (ms) => (ms === null || ms === undefined ? "–" : ms < 1000 ? `${Math.round(ms)} ms` : age(ms));
const rate = (number) => (number === null || number === undefined ? "–" : number >= 10 || number === 0 ? group(number) : number.toFixed(number < 0.1 ? 2 : 1));

function bytes(number) {
  if (number === null || number === undefined) return "–";
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let at = 0;
  while (number >= 1024 && at < units.length - 1) { number /= 1024; at += 1; }
  return `${at && number < 10 ? number.toFixed(1) : Math.round(number)} ${units[at]}`;
}

const dateTime = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "short", hourCycle: "h23" });
const time = new Intl.DateTimeFormat(undefined, { timeStyle: "medium", hourCycle: "h23" });
const when = (ms) => (ms === null || ms === undefined ? "–" : dateTime.format(ms));

// An age that goes on by itself.
const ticking = (ms, after = "") => (ms === null || ms === undefined ? "–" : el("span", { "data-age": ms, "data-after": after }, age(ms) + after));

// ---- signs: a state is a shape, a word and a colour

const SIGNS = {
  well: ["M12 2a10 10 0 1 0 0 20a10 10 0 1 0 0-20z", "M7 12.5l3.5 3.5l6.5-7.5"],
  degraded: ["M12 2.5L23 21.5H1z", "M12 9v6M12 18v.6"],
  broken: ["M7.5 2h9L22 7.5v9L16.5 22h-9L2 16.5v-9z", "M8 8l8 8M16 8l-8 8"],
  none: ["M12 2a10 10 0 1 0 0 20a10 10 0 1 0 0-20z", "M9 9.3a3 3 0 1 1 4.2 2.8c-.8.4-1.2 1-1.2 2M12 17v.6"],
};

function sign(state) {
  const [outline, inner] = SIGNS[state] ?? SIGNS.none;
  const root = svg("svg", { viewBox: "0 0 24 24", fill: "none", stroke: "currentColor", "stroke-width": "2", "stroke-linejoin": "round", "stroke-linecap": "round", "aria-hidden": "true" });
  root.append(svg("path", { d: outline }), svg("path", { d: inner, "stroke-width": "2.2" }));
  return root;
}

const mark = (state, word) => el("span", { class: "mark", "data-state": state }, sign(state), word);

const STATES = { well: "well", diverged: "broken", ahead: "broken" };
const stateOf = (state) => STATES[state] ?? "degraded";
const stateWord = (state) => (state === "ahead" ? "ahead of the log" : state);

// ---- sections: each is made again only if what it shows has changed

const drawn = new Map();

function draw(id, what, make) {
  const key = JSON.stringify(what);
  if (drawn.get(id) === key) return;
  drawn.set(id, key);
  const into = $(id), focused = document.activeElement?.closest?.(`#${id} [data-key]`)?.dataset.key;
  const open = new Set([...into.querySelectorAll("details[open]")].map((one) => one.dataset.key));
  into.replaceChildren(...[make()].flat().filter((one) => one !== null && one !== undefined && one !== ""));
  for (const one of into.querySelectorAll("details")) one.open = open.has(one.dataset.key);
  if (focused) into.querySelector(`[data-key="${CSS.escape(focused)}"]`)?.focus();
}

// Without what only time changes, and the page counts by itself.
const timeless = (what) => JSON.stringify(what, (key, value) => (key === "age_ms" || key === "well_age_ms" ? undefined : value));

function table(caption, head, rows, className = "stack") {
  const cells = (row) => row.map((cell, at) => {
    const { text, wide } = cell?.text !== undefined ? cell : { text: cell };
    const [title, isNumber] = Array.isArray(head[at]) ? head[at] : [head[at], false];
    const attributes = { class: isNumber ? "n" : wide ? "wide" : null, role: at === 0 ? "rowheader" : "cell" };
    return at === 0
      ? el("th", { ...attributes, scope: "row" }, [text].flat())
      : el("td", { ...attributes, "data-label": title }, el("div", {}, [text].flat()));
  });
  return el("table", { class: className, role: "table" },
    el("caption", {}, caption),
    el("thead", { role: "rowgroup" }, el("tr", { role: "row" }, head.map((one) => {
      const [title, isNumber] = Array.isArray(one) ? one : [one, false];
      return el("th", { scope: "col", role: "columnheader", class: isNumber ? "n" : null }, title);
    }))),
    el("tbody", { role: "rowgroup" }, rows.map((row) => el("tr", { role: "row" }, cells(row)))));
}

const empty = (text) => el("p", { class: "empty" }, text);

// ---- the verdict

const WORDS = { well: "Well", degraded: "Degraded", broken: "Broken" };

function showVerdict() {
  const isCut = !isFresh();
  const state = picture === null ? "none" : picture.fleet.verdict;
  document.body.dataset.verdict = state;
  const word = picture === null ? (connected ? "Waiting" : "Connecting") : WORDS[state];
  draw("verdict-sign", [isCut ? "none" : state], () => sign(isCut ? "none" : state));
  draw("verdict-word", [word, isCut], () => document.createTextNode(isCut && picture ? `Not known (was ${word.toLowerCase()})` : word));
  draw("verdict-text", picture?.fleet.reasons.concat(picture.fleet.summary), () => (picture ? typed(inOneSentence(picture.fleet)) : ["The log has not been read yet."]));
  const chain = picture?.fleet.log.chain ?? "";
  document.title = `${isCut && picture ? "?" : word}${chain ? ` · ${chain}` : ""} · Tipline`;
  draw("chain", chain, () => document.createTextNode(chain));
}

// Names are left as they are.
const sentence = (text, name = null) => (name && text.startsWith(name) ? text : text.charAt(0).toUpperCase() + text.slice(1));

// What stands in backquotes is typed.
const typed = (text) => text.split("`").map((part, at) => (at % 2 ? el("code", {}, part) : part));

// All of them are below, each by itself.
function inOneSentence({ summary, findings }) {
  if (findings.length < 2) return sentence(summary, findings[0]?.name);
  return `${sentence(findings[0].text, findings[0].name)}; and ${findings.length - 1} more`;
}

// ---- figures: what would be lost now

function figure(title, big, note, state = null) {
  return el("div", { "data-state": state }, el("dt", {}, title), el("dd", { class: "big" }, big), note === null ? null : el("dd", { class: "note" }, [note].flat()));
}

function showFigures() {
  const { fleet, exposure } = picture;
  const { runway } = fleet.recovery ?? { runway: null };
  draw("figures", timeless([fleet.tip, fleet.log, fleet.primary, exposure, fleet.policy, runway, fleet.consumers.map((c) => [c.proof])]), () => {
    const proof = Math.max(0, ...fleet.consumers.map((consumer) => consumer.proof ?? 0));
    const made = [figure("Tip", fleet.tip ? group(fleet.tip.height) : "–", fleet.log.last === null ? "the log is not read" : `event ${group(fleet.log.last)}${proof > 0 ? `, proofs to ${group(proof)}` : ""}`)];
    const loss = exposure?.with_primary;
    if (!exposure) {
      made.push(figure("Lost without the primary", "not known", "the log is not read", "none"));
      made.push(figure("Lost without primary and log", "not known", "the log is not read", "none"));
    } else {
      made.push(loss === null
        ? figure("Lost without the primary", "not known", "no primary has announced itself", "none")
        : figure("Lost without the primary", loss.events ? count(loss.events, "event") : "nothing", ["by its word, ", ticking(fleet.primary?.age_ms, " ago")], loss.events > 0 && fleet.primary?.state !== "well" ? "degraded" : null));
      const both = exposure.with_log;
      made.push(figure("Lost without primary and log", both.events ? count(both.events, "event") : "nothing", both.events ? (both.oldest_ms === null ? "for how long is not known" : `the oldest is ${age(both.oldest_ms)} old`) : exposure.keeper ? `${exposure.keeper} has everything` : "the log is empty", both.oldest_ms > about.limits.lag_ms || (both.events > 0 && exposure.keeper === null) ? "degraded" : null));
    }
    made.push(figure("Held by most", exposure?.keeper ?? (exposure ? "nobody" : "not known"), exposure?.keeper ? `durable to event ${group(exposure.index)}` : exposure ? "nothing is durable anywhere" : "the log is not read", exposure && exposure.keeper === null ? "degraded" : null));
    if (!exposure) made.push(figure("Policy", "not known", "the log is not read", "none"));
    else made.push(fleet.policy
      ? figure("Policy", fleet.policy.reached ? "reached" : "not reached", `${fleet.policy.policy}${fleet.policy.lag_events ? `; ${count(fleet.policy.lag_events, "event")} behind` : ""}`, fleet.policy.reached ? null : "degraded")
      : figure("Policy", "none", "--policy names what must be backed up"));
    made.push(figure("Newest backup joins the log", runway?.left_ms !== null && runway?.left_ms !== undefined ? (runway.joins === false ? "no" : `for ${age(runway.left_ms)}`) : runway?.joins ? "yes" : "not known", runway?.backup ? `${runway.backup}, to event ${group(runway.index)}` : "no archive, and no place that was checked", runway?.joins === false ? "broken" : null));
    return made;
  });
}

// ---- alerts

function showAlerts() {
  const { findings, reminders, shortfalls, advice } = picture.fleet;
  const accepted = shortfalls.filter((one) => one.accepted);
  draw("alerts", [findings, reminders, accepted, advice], () => {
    if (!findings.length && !reminders.length && !accepted.length) return empty("Nothing. Everyone is heard of, and within the limits.");
    const list = findings.map((finding, at) => alert(finding, at, advice));
    list.push(...reminders.map((text) => el("article", { class: "alert", "data-state": "none" }, el("h3", {}, sign("none"), el("span", {}, text)), el("p", { class: "soft" }, "A reminder: it changes no verdict."))));
    list.push(...accepted.map(({ found, risk, remedy }) => el("article", { class: "alert", "data-state": "none" }, el("h3", {}, sign("none"), `Accepted: ${found}`), el("p", {}, `${sentence(risk)}. To end it: ${remedy}.`))));
    return el("div", { class: "alert-list" }, list);
  });
}

function alert({ kind, name, verdict, text }, at, advice) {
  const remedy = about.remedies[kind];
  const made = el("article", { class: "alert", "data-state": verdict, "data-kind": kind },
    el("h3", {}, sign(verdict), el("span", {}, el("span", { class: "unseen" }, `${WORDS[verdict]}: `), typed(sentence(text, name)))));
  if (at === 0 && advice) made.append(el("p", { class: "fix" }, typed(`To do: ${advice}`)));
  if (remedy) {
    made.append(el("p", {}, typed(`At risk: ${remedy.risk}`)));
    made.append(...remedy.fix.map((one) => el("p", { class: "fix" }, typed(`To do: ${one}`))));
    const key = `${kind} ${name ?? ""}`;
    if (remedy.check.length) made.append(el("details", { "data-key": key }, el("summary", { "data-key": `s ${key}` }, `What to check first (${kind})`), el("ul", {}, remedy.check.map((one) => el("li", {}, typed(one))))));
  }
  return made;
}

// ---- primary and consumers

function showFleet() {
  const { primary, consumers, log } = picture.fleet;
  draw("primary", timeless(primary), () => {
    if (!primary) return empty(log.last === null ? "The log cannot be read, so nobody is heard of." : "No primary has announced itself.");
    const outbox = primary.outbox_events ? `${count(primary.outbox_events, "event")} in the outbox${primary.outbox_oldest_ms === null ? "" : ` for up to ${age(primary.outbox_oldest_ms)}`}` : "outbox empty";
    return el("p", { class: "line" }, el("b", {}, primary.name), el("span", { class: "soft" }, "primary"), mark(stateOf(primary.state), stateWord(primary.state)),
      el("span", {}, primary.block === null ? "no block yet" : `block ${group(primary.block)}`), el("span", {}, `epoch ${primary.epoch}`), el("span", {}, outbox), el("span", { class: "soft" }, "heard ", ticking(primary.age_ms, " ago")),
      ...[primary.failure, primary.source_failure, primary.held_up].filter(Boolean).map((why) => el("span", { class: "why", "data-state": stateOf(primary.state) }, why)));
  });
  draw("consumers", timeless(consumers), () => {
    if (!consumers.length) return empty(log.last === null ? "" : "Nobody has sent a receipt yet.");
    const rows = consumers.map((one) => [
      { text: [one.name, el("div", { class: "small" }, `${one.role}, ${one.store}`)] },
      { text: [mark(stateOf(one.state), stateWord(one.state)), one.failure ? el("div", { class: "why", "data-state": stateOf(one.state) }, one.failure) : null], wide: one.failure !== null },
      group(one.block),
      group(one.proof),
      { text: lag(one) },
      one.level ?? "–",
      { text: ticking(one.age_ms, " ago") },
    ]);
    return table("Each by its newest receipt", ["Consumer", "State", ["Block", true], ["Proof", true], ["Lag", true], "Level", ["Receipt", true]], rows);
  });
}

function lag({ lag_blocks, lag_events, lag_ms }) {
  if (lag_events === 0) return "none";
  const blocks = lag_blocks ? `${count(lag_blocks, "block")}, ` : "";
  return [`${blocks}${count(lag_events, "event")}`, lag_ms === null ? null : el("div", { class: "small" }, age(lag_ms))];
}

// ---- plots

const SLOTS = 6;

function slots() {
  const names = [...new Set(points.flatMap((point) => Object.keys(point.consumers)))].sort();
  return new Map(names.map((name, at) => [name, at % SLOTS]));
}

// How wide one column of a grid is, in whole pixels.
function room(id) {
  const columns = getComputedStyle($(id)).gridTemplateColumns.split(" ");
  return Math.max(Math.floor(columns.length > 1 ? parseFloat(columns[0]) : $(id).clientWidth), 200);
}

function showPlots() {
  const to = Math.max(picture?.at_ms ?? 0, points.at(-1)?.t ?? 0), from = to - minutes * 60e3;
  const last = points.at(-1);
  if (!last) return;
  const width = room("plots");
  draw("plots", [last.t, minutes, points.length, width], () => {
    const within = points.filter((point) => point.t >= from), byName = slots();
    const present = [...byName].filter(([name]) => within.some((point) => point.consumers[name]));
    const each = (field) => present.map(([name, slot]) => ({ name, slot, value: (point) => point.consumers[name]?.[field] ?? null }));
    const one = (name, value) => [{ name, slot: 0, value }];
    draw("legend", present, () => present.map(([name, slot]) => el("li", {}, svg("svg", { viewBox: "0 0 26 8", "aria-hidden": "true" }, svg("path", { class: `curve c${slot}`, d: "M1 4H25" })), name)));
    return [
      chart("Lag", "age of the oldest event that it does not have", each("lag_ms"), { within, from, to, width, format: span, say: short, steps: TIME_STEPS, limit: about.limits.lag_ms }),
      chart("RPO", "age of the oldest event that would be lost", one("lost", (point) => point.rpo_ms), { within, from, to, width, format: span, say: short, steps: TIME_STEPS, limit: about.limits.lag_ms }),
      chart("Latency", "from commit to receipt", each("latency_ms"), { sticky: true, within, from, to, width, format: span, say: short, steps: TIME_STEPS }),
      chart("Rate", "events a second into the log", one("events", (point) => point.rate), { within, from, to, width, format: (v) => `${+v.toFixed(2)}`, say: rate }),
    ];
  });
}

function chart(title, what, lines, { within, from, to, width, format, say, steps, limit, sticky }) {
  const figures = lines.map((line) => {
    const values = within.map(line.value).filter((value) => value !== null);
    return { name: line.name, now: values.length ? line.value(within.at(-1)) ?? (sticky ? values.at(-1) : null) : null, most: values.length ? Math.max(...values) : null };
  });
  const known = figures.filter((one) => one.most !== null);
  const most = known.length ? Math.max(...known.map((one) => one.most)) : null;
  const label = `${title}, ${what}. ${known.length ? known.map((one) => `${one.name}: newest ${say(one.now)}, at most ${say(one.most)}`).join("; ") : "Nothing is known yet"}.`;
  const current = known.filter((one) => one.now !== null);
  const newest = current.length ? Math.max(...current.map((one) => one.now)) : null;
  return el("figure", { "data-plot": title.toLowerCase() },
    el("figcaption", {}, el("b", {}, title), el("span", { class: "value" }, say(newest)), el("span", { class: "what" }, what), el("span", { class: "most" }, most === null ? "" : `at most ${say(most)}`)),
    plot({ points: within, lines, from, to, format, steps, limit, label, width }));
}

// ---- backups

function keySign(kind) {
  const root = svg("svg", { viewBox: "0 0 16 12", "aria-hidden": "true" });
  if (kind === "diamond") root.append(svg("path", { class: "diamond", d: "M8 1l4 5l-4 5l-4 -5z" }));
  else root.append(svg("rect", { class: kind, x: 0, y: 3, width: 16, height: kind === "bar-archive" ? 8 : 5, rx: 1 }));
  return root;
}

function showWindow() {
  const { kept, fleet } = picture;
  const log = fleet.log.last ? { first: fleet.log.first, last: fleet.log.last } : null;
  const width = room("window");
  draw("window", [kept.places, kept.at_ms, log, width], () => {
    if (!kept.at_ms) return empty("The places of backups are being read.");
    if (!kept.places.length) return empty("No place of backups is named. --checks names where archives and checkpoints are; then this shows what can be restored from each.");
    const last = Math.max(log?.last ?? 0, ...kept.places.flatMap((place) => [place.archive?.last ?? 0, ...place.checkpoints.map((one) => one.index ?? 0)]), 1);
    return [
      el("ul", { class: "keys" }, [["bar-archive", "archive"], ["bar-window", "every point can be restored"], ["diamond", "checkpoint"], ["bar-log", "held by the log"]].map(([kind, word]) => el("li", {}, keySign(kind), word))),
      ...kept.places.map((place) => placeOf(place, last, log, width)),
      el("p", { class: "small" }, `Read at ${time.format(kept.at_ms)}; again each minute.`),
    ];
  });
}

function placeOf(place, last, log, width) {
  const { archive, restorable, checkpoints } = place;
  const newest = checkpoints.find((one) => one.index !== null);
  const told = [
    restorable ? (restorable.first === restorable.last ? `restorable: event ${group(restorable.last)}` : `restorable: every point from event ${group(restorable.first)} to ${group(restorable.last)}`) : "nothing can be restored from it",
    archive ? `archive: events ${group(archive.first)} to ${group(archive.last)}${archive.last_ms ? `, the newest of ${when(archive.last_ms)}` : ""}` : "no archive",
    newest ? `${count(checkpoints.length, "checkpoint")}, the newest at event ${group(newest.index)}${newest.height === null ? "" : `, block ${group(newest.height)}`}, ${when(newest.created_ms)}, ${bytes(newest.bytes)}` : "no checkpoint",
  ];
  const broken = checkpoints.filter((one) => one.problem);
  return el("div", { class: "place", "data-place": place.place },
    el("h3", {}, place.place),
    archive || newest ? timeline({ first: 1, last, archive, restorable, checkpoints, log, width, label: `${place.place}: ${told.join("; ")}`, ends: [`event 1${archive?.first === 1 && archive.first_ms ? `, ${when(archive.first_ms)}` : ""}`, `event ${group(last)}`] }) : null,
    ...told.map((text) => el("p", { class: "small" }, sentence(text))),
    ...[...place.problems, ...(archive?.gaps ?? []).map((gap) => `events ${group(gap.first)} to ${group(gap.last)} are missing in the archive`), ...broken.map((one) => `checkpoint ${one.id}: ${one.problem}`)].map((text) => el("p", { class: "why", "data-state": "degraded" }, mark("degraded", ""), text)));
}

// ---- checks, retention, recovery

function showChecks() {
  const { checks } = picture.fleet;
  const made = picture.kept.places.filter((place) => place.drills.length);
  draw("checks", [timeless(checks), made.map((place) => [place.place, place.drills])], () => {
    if (!checks.length) return empty("No place is named, so nobody knows of drills. --checks names the places; tipline drill restores from one and keeps the outcome there.");
    const rows = [...checks].sort((one, other) => one.check.localeCompare(other.check)).map((one) => [
      { text: [one.check, el("div", { class: "small" }, one.place)] },
      { text: [one.ok === null ? mark("none", "never, or not known") : mark(one.ok ? "well" : "degraded", one.ok ? "well" : "not well"), one.summary ? el("div", { class: "small" }, one.summary) : null], wide: true },
      { text: [one.age_ms === null ? "never" : ticking(one.age_ms, " ago"), one.expected_ms === null ? null : el("div", { class: "small" }, `expected within ${age(one.expected_ms)}`)] },
      { text: [one.well_age_ms === null ? "never" : ticking(one.well_age_ms, " ago"), one.index === null ? null : el("div", { class: "small" }, `event ${group(one.index)}`)] },
    ]);
    return [table("The newest of each, as its place remembers it", ["Check", "Outcome", ["Last", true], ["Last well", true]], rows), ...made.map(drillsOf)];
  });
}

function drillsOf({ place, drills }) {
  const rows = drills.map((one) => [
    when(one.at_ms),
    { text: [mark(one.ok ? "well" : "degraded", one.ok ? "well" : "not well"), el("div", { class: "small" }, one.summary)], wide: true },
    { text: [one.restored_ms === null ? "–" : age(one.restored_ms), el("div", { class: "small" }, `event ${group(one.index)}`)] },
  ]);
  return table(`Drills at ${place}, the newest ${drills.length}`, ["When", "Outcome", ["Restored in", true]], rows);
}

const RESERVED = { reserved: "well", "at risk": "degraded", lost: "broken", diverged: "broken" };

function showRetention() {
  const { kept, fleet } = picture;
  const held = fleet.consumers.map((one) => [one.name, one.reservation, one.index, one.lag_events, one.at_risk_in_ms === null ? null : age(one.at_risk_in_ms)]);
  draw("retention", [kept.retention, held], () => {
    const made = [], plan = kept.retention;
    if (!plan) made.push(empty("What the log may drop is not known: the log was not read."));
    else if (plan.problem) made.push(el("p", { class: "why", "data-state": "degraded" }, `What the log may drop is not known: ${plan.problem}`));
    else {
      made.push(el("p", { class: "line" }, el("b", {}, plan.free ? `${count(plan.free, "event")} may go` : "Nothing may go"), el("span", { class: "soft" }, `by the policy ${plan.policy}`)));
      const rows = plan.ranges.map((range) => [{ text: `${group(range.first)} to ${group(range.last)}` }, { text: range.kept_by.length ? range.kept_by.map((why) => el("div", {}, typed(why))) : "nobody: it may go", wide: true }]);
      if (rows.length) made.push(table("Parts of the log", ["Events", "Kept by"], rows));
    }
    if (held.length) {
      const rows = held.map(([name, reservation, index, behind, atRisk]) => [name, { text: mark(RESERVED[reservation] ?? "none", reservation) }, group(index + 1), group(behind), { text: behind && atRisk ? `at risk in ${atRisk} if it stands still` : "–", wide: behind > 0 }]);
      made.push(table("What the log does for each consumer", ["Consumer", "Reservation", ["Needs", true], ["Lag", true], "When"], rows));
    }
    return made;
  });
}

const CONDITIONS = { ok: ["well", "holds"], fail: ["broken", "fails"], unknown: ["none", "unknown"] };

function showRecovery() {
  const { recovery } = picture.fleet;
  draw("recovery", recovery, () => {
    if (!recovery) return empty("Not known.");
    const rows = recovery.conditions.map(({ name, state, text }) => {
      const [shape, word] = CONDITIONS[state] ?? CONDITIONS.unknown;
      return el("li", {}, mark(shape, word), el("div", {}, el("b", {}, name.replaceAll("_", " ")), ` – ${text}`));
    });
    return [el("p", { class: "line" }, recovery.runway.text), el("ul", { class: "conditions" }, rows)];
  });
}

// ---- everything, and time

function show() {
  showVerdict();
  if (!picture) return;
  showFigures();
  showAlerts();
  showFleet();
  showPlots();
  showWindow();
  showChecks();
  showRetention();
  showRecovery();
  tick();
}

const isFresh = () => connected && heard !== null && performance.now() - heard < CUT_OFF_MS;

function tick() {
  const passed = heard === null ? 0 : performance.now() - heard;
  const fresh = isFresh(), silent = Math.floor(passed / 1000);
  document.body.dataset.news = heard === null ? "none" : fresh ? "live" : "cut";
  let news = fresh ? "live" : heard === null ? "connecting" : `no news for ${silent} s`;
  if (picture === null && connected) news = "waiting for the log";
  if ($("news-text").textContent !== news) $("news-text").textContent = news;
  const old = $("verdict-old");
  old.hidden = fresh || picture === null;
  if (!old.hidden) old.textContent = `No news for ${silent} s: ${connected ? "the connection is there, and silent" : "tipline dashboard does not answer"}. What is shown was so at ${time.format(picture.at_ms)}.`;
  for (const one of document.querySelectorAll("[data-age]")) one.textContent = age(Number(one.dataset.age) + passed) + one.dataset.after;
}

// What only time changes is not drawn again, but counted from the newest word.
function freshenAges(what) {
  const ages = new Map();
  if (what.fleet.primary) ages.set("primary", [what.fleet.primary.age_ms]);
  ages.set("consumers", what.fleet.consumers.map((one) => one.age_ms));
  for (const [id, values] of ages) {
    const spans = $(id).querySelectorAll("[data-age]");
    spans.forEach((one, at) => { if (values[at] !== undefined) one.dataset.age = values[at]; });
  }
  const sorted = [...what.fleet.checks].sort((one, other) => one.check.localeCompare(other.check));
  const checks = sorted.flatMap((one) => [one.age_ms, one.well_age_ms]).filter((one) => one !== null);
  $("checks").querySelectorAll("[data-age]").forEach((one, at) => { if (checks[at] !== undefined) one.dataset.age = checks[at]; });
  const figures = $("figures").querySelectorAll("[data-age]");
  if (figures.length && what.fleet.primary) figures[0].dataset.age = what.fleet.primary.age_ms;
}

function take(news) {
  heard = performance.now();
  if (news.picture) picture = news.picture;
  const newest = picture?.at_ms ?? Infinity;
  points = points.filter((point) => point.t > newest - KEPT_MS && point.t <= newest).concat(news.points);
  show();
  if (picture) freshenAges(picture);
}

function listen() {
  const source = new EventSource("events");
  source.addEventListener("open", () => { connected = true; show(); tick(); });
  source.addEventListener("error", () => { connected = false; showVerdict(); tick(); });
  source.addEventListener("snapshot", (event) => {
    const all = JSON.parse(event.data);
    about = all.about;
    points = [];
    $("where").textContent = about.log;
    $("footer").textContent = `Tipline ${about.version}. Read from the log alone; everything here is read-only. The plots go back 12 h at most: a point each 5 s for an hour, then the worst of each minute.`;
    connected = true;
    take(all);
  });
  source.addEventListener("news", (event) => { connected = true; take(JSON.parse(event.data)); });
}

// ---- theme and range

function remember(key, value) {
  try { if (value === undefined) return localStorage.getItem(key); localStorage.setItem(key, value); } catch { /* no storage: only not remembered */ }
  return null;
}

function choose(buttons, chosen) {
  for (const one of buttons) one.setAttribute("aria-pressed", String(one === chosen));
}

function theme(name) {
  if (name === "auto") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = name;
  const buttons = [...document.querySelectorAll("[data-theme-choice]")];
  choose(buttons, buttons.find((one) => one.dataset.themeChoice === name));
}

for (const button of document.querySelectorAll("[data-theme-choice]")) {
  button.addEventListener("click", () => { theme(button.dataset.themeChoice); remember("tipline-theme", button.dataset.themeChoice); });
}
const chosen = remember("tipline-theme");
if (chosen === "light" || chosen === "dark") theme(chosen);

const ranges = [...document.querySelectorAll("[data-minutes]")];
function range(button) {
  minutes = Number(button.dataset.minutes);
  choose(ranges, button);
  showPlots();
}
for (const button of ranges) button.addEventListener("click", () => { range(button); remember("tipline-minutes", button.dataset.minutes); });
const remembered = ranges.find((one) => one.dataset.minutes === remember("tipline-minutes"));
if (remembered) range(remembered);

setInterval(() => { showVerdict(); tick(); }, 1000);
addEventListener("resize", () => { if (picture) { showPlots(); showWindow(); } });
listen();
