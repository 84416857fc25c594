// Small plots and time lines, as SVG. Text goes in as text.

const NS = "http://www.w3.org/2000/svg";

export function svg(name, attributes = {}, ...children) {
  const made = document.createElementNS(NS, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

// A maximum of an axis that reads well, and its steps.
function nice(most, units) {
  const steps = units ?? [1, 2, 5].flatMap((one) => [-2, -1, 0, 1, 2, 3, 4, 5, 6, 7, 8].map((power) => one * 10 ** power)).sort((a, b) => a - b);
  const step = steps.find((one) => most / one <= 3) ?? steps.at(-1) * Math.ceil(most / 3 / steps.at(-1));
  return { step, top: Math.max(step * Math.ceil(most / step - 1e-9), step) };
}

export const TIME_STEPS = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1e3, 2e3, 5e3, 10e3, 20e3, 30e3, 60e3, 120e3, 300e3, 600e3, 1200e3, 1800e3, 3600e3, 7200e3, 14400e3, 28800e3, 86400e3, 172800e3, 604800e3];

// At most so many columns are drawn, each with the worst in it.
const COLUMNS = 90;

function columns(points, from, to, value) {
  const width = (to - from) / COLUMNS, made = [];
  let column = null;
  for (const point of points) {
    if (point.t < from) continue;
    const at = Math.floor((point.t - from) / width), v = value(point);
    if (column && column.at === at) {
      if (v !== null) column.v = column.v === null ? v : Math.max(column.v, v);
      column.t = point.t;
    } else {
      column = { at, t: point.t, v };
      made.push(column);
    }
  }
  return made;
}

// Lines break where nothing is known, and where nobody looked.
function path(columns, x, y, patience) {
  let text = "", open = false, before = null;
  for (const { t, v } of columns) {
    if (v === null || (before !== null && t - before > patience)) open = false;
    before = t;
    if (v === null) continue;
    text += `${open ? "L" : "M"}${x(t).toFixed(1)} ${y(v).toFixed(1)}`;
    // A point by itself is a dot.
    if (!open) text += "h.01";
    open = true;
  }
  return text;
}

const clock = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", hourCycle: "h23" });

const H = 150, LEFT = 50, RIGHT = 4, TOP = 10, BOTTOM = 20;

// Lines over time, as wide as there is room, so that its text has the size of the page's.
// {points, lines: [{name, slot, value}], from, to, format, steps, limit, label, width}
export function plot({ points, lines, from, to, format, steps, limit, label, width: W }) {
  const drawn = lines.map((line) => ({ ...line, columns: columns(points, from, to, line.value) }));
  const most = Math.max(0, ...drawn.flatMap((line) => line.columns.map((column) => column.v ?? 0)));
  const shown = limit !== undefined && limit <= most * 4 ? Math.max(most, limit * 1.05) : most;
  const { step, top } = nice(shown || (steps ? 1000 : 1), steps);
  const x = (t) => LEFT + ((t - from) / (to - from)) * (W - LEFT - RIGHT);
  const y = (v) => H - BOTTOM - (Math.min(v, top) / top) * (H - TOP - BOTTOM);
  const root = svg("svg", { viewBox: `0 0 ${W} ${H}`, role: "img", "aria-label": label });
  // When it was not well.
  for (const { state, first, last } of unwell(points, from)) {
    const width = Math.max(x(last) - x(first), 1);
    root.append(svg("rect", { class: `bad-${state}`, x: x(first), y: TOP, width, height: H - TOP - BOTTOM }));
  }
  for (let v = 0; v <= top * 1.001; v += step) {
    root.append(svg("line", { class: v === 0 ? "axis base" : "axis", x1: LEFT, x2: W - RIGHT, y1: y(v), y2: y(v) }));
    root.append(svg("text", { x: LEFT - 6, y: y(v) + 4, "text-anchor": "end" }, format(v)));
  }
  for (const [share, anchor] of [[0, "start"], [0.5, "middle"], [1, "end"]]) {
    const t = from + (to - from) * share;
    root.append(svg("text", { x: x(t), y: H - 4, "text-anchor": anchor }, share === 1 ? "now" : clock.format(t)));
  }
  if (limit !== undefined && limit <= top) {
    root.append(svg("path", { class: "limit", d: `M${LEFT} ${y(limit)}H${W - RIGHT}` }));
    root.append(svg("text", { class: "limit-name", x: W - RIGHT, y: y(limit) - 4, "text-anchor": "end" }, "limit"));
  }
  const patience = Math.max(((to - from) / COLUMNS) * 3, 130e3);
  for (const line of drawn) {
    root.append(svg("path", { class: `curve c${line.slot}`, d: path(line.columns, x, y, patience) }));
  }
  return root;
}

// From when to when a verdict was not well.
function unwell(points, from) {
  const spans = [];
  for (const point of points) {
    if (point.t < from) continue;
    const span = spans.at(-1);
    if (span && span.open && span.state === point.verdict) { span.last = point.t; continue; }
    if (span && span.open) { span.open = false; span.last = point.t; }
    if (point.verdict !== "well") spans.push({ state: point.verdict, first: point.t, last: point.t, open: true });
  }
  return spans;
}

const LINE_H = 66, EDGE = 8;

// What is kept over the events of the log: {first, last, archive, restorable, checkpoints, log, ends, label, width}
export function timeline({ first, last, archive, restorable, checkpoints, log, ends, label, width: LINE_W }) {
  const span = Math.max(last - first, 1);
  const x = (index) => EDGE + ((index - first) / span) * (LINE_W - 2 * EDGE);
  const root = svg("svg", { viewBox: `0 0 ${LINE_W} ${LINE_H}`, role: "img", "aria-label": label });
  const bar = (kind, from, to, y, height) => root.append(svg("rect", { class: kind, x: x(from), y, width: Math.max(x(to) - x(from), 2), height, rx: 2 }));
  root.append(svg("path", { class: "axis base", d: `M${EDGE} 44H${LINE_W - EDGE}` }));
  if (archive) {
    bar("bar-archive", archive.first, archive.last, 16, 10);
    archive.gaps.forEach((gap) => bar("gap", gap.first, gap.last, 16, 10));
  }
  if (restorable) bar("bar-window", restorable.first, restorable.last, 29, 5);
  if (log) bar("bar-log", log.first, log.last, 40, 4);
  for (const checkpoint of checkpoints) {
    if (checkpoint.index === null) continue;
    const at = x(checkpoint.index);
    root.append(svg("path", { class: "diamond", d: `M${at} 14l6 7l-6 7l-6 -7z` }));
  }
  root.append(svg("path", { class: "now-line", d: `M${x(last)} 8V46` }));
  root.append(svg("text", { x: EDGE, y: 60 }, ends[0]));
  root.append(svg("text", { x: LINE_W - EDGE, y: 60, "text-anchor": "end" }, ends[1]));
  return root;
}
