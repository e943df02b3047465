// The curve of quality against bytes, in the classes and colours of the report's picture.

import { byteRange, byteTicks, linearScale, logScale, qualityRange, qualityTicks } from "./scales.js";
import { count, drawn, element, measure } from "./words.js";

const FONT = 12;
const CHARACTER = 0.6;
const EDGES = { left: 38, right: 12, top: 28, bottom: 44 };

/**
 * The picture as an SVG element.
 *
 * info: as /info gives it, with a curve of one point or more. present: {bytes, point, label}, where
 * the reader stands: bytes on the axis, the point of the curve there or null, and words for it;
 * null for nowhere. width, height: in pixels. choose: called with a point that is clicked.
 */
export function picture(info, present, width, height, choose) {
  const { left, right, top, bottom } = EDGES;
  const floor = height - bottom;
  const points = info.curve;
  const ends = info.full ? [...points, info.full] : points;
  const sizes = [info.full_bytes, ...points.map(bytesOf), ...(present ? [present.bytes] : [])];
  const [least, most] = byteRange(sizes);
  const [low, high] = qualityRange(ends.map((p) => p.low), ends.map((p) => p.high));
  const x = logScale(least, most, left, width - right);
  const y = linearScale(low, high, floor, top);
  return drawn(
    "svg",
    {
      class: "chart",
      role: "img",
      "aria-label": describe(info, present),
      viewBox: `0 0 ${width} ${height}`,
      width,
      height,
      "font-size": String(FONT),
    },
    ...axes(info, x, y, { least, most, low, high, width, height }, present && tagOf(present, x, width)),
    ...fullLine(info, y, width),
    line(points, x, y, choose),
    ...(present ? marker(present, x, y, width, floor) : []),
  );
}

/** The picture in words, for those who do not see it. */
export function describe(info, present) {
  const cuts = info.curve.map((p) => `${count(bytesOf(p))} bytes ${measure(p.value)}`).join(", ");
  const full = info.full ? ` Full vectors, ${count(info.full_bytes)} bytes: ${measure(info.full.value)}.` : "";
  const here = present ? ` Now at ${present.label}.` : "";
  return `${info.measure} against bytes per vector: ${cuts}.${full}${here}`;
}

/** The curve as a table. */
export function table(info) {
  const row = (bytes, p) =>
    element(
      "tr",
      {},
      element("th", { scope: "row", className: "num", textContent: bytes }),
      element("td", { className: "num", textContent: measure(p.value) }),
      element("td", { className: "num", textContent: `${measure(p.low)} to ${measure(p.high)}` }),
    );
  const heads = ["bytes", info.measure, "95 % interval"].map((text) =>
    element("th", { scope: "col", className: "num", textContent: text }),
  );
  const rows = info.curve.map((p) => row(count(bytesOf(p)), p));
  if (info.full) rows.push(row(count(info.full_bytes), info.full));
  return element(
    "table",
    {},
    element("thead", {}, element("tr", {}, ...heads)),
    element("tbody", {}, ...rows),
  );
}

/** Bytes a vector, its norm among them where the server tells. */
export const bytesOf = (point) => point.bytes_per_vector ?? point.bytes;

/** Where the label of the present place stands: its middle and half its width. */
function tagOf(present, x, width) {
  const half = (CHARACTER * FONT * present.label.length) / 2 + 7;
  const middle = Math.min(Math.max(x(present.bytes), EDGES.left + half), width - EDGES.right - half);
  return { middle, half };
}

function axes(info, x, y, { least, most, low, high, width, height }, tag) {
  const { left, right, top, bottom } = EDGES;
  const floor = height - bottom;
  const made = [];
  for (const value of qualityTicks(low, high, height < 240 ? 4 : 5)) {
    const at = y(value);
    made.push(drawn("line", { class: "grid", x1: left, x2: width - right, y1: at, y2: at }));
    const text = { class: "tick", x: left - 6, y: at + 4, "text-anchor": "end" };
    made.push(drawn("text", text, String(value)));
  }
  for (const bytes of byteTicks(least, most, Math.max(3, Math.floor(width / 40)))) {
    const at = x(bytes);
    made.push(drawn("line", { class: "mark", x1: at, x2: at, y1: floor, y2: floor + 4 }));
    const text = { class: "tick", x: at, y: floor + 17, "text-anchor": "middle" };
    const half = (CHARACTER * FONT * count(bytes).length) / 2 + 3;
    const covered = tag && Math.abs(tag.middle - at) < tag.half + half;
    if (!covered) made.push(drawn("text", text, count(bytes)));
  }
  made.push(drawn("line", { class: "mark", x1: left, x2: width - right, y1: floor, y2: floor }));
  const middle = { class: "axis", x: (left + width - right) / 2, y: height - 6, "text-anchor": "middle" };
  made.push(drawn("text", middle, "bytes per vector (log scale)"));
  made.push(drawn("text", { class: "axis", x: 4, y: top - 14 }, info.measure));
  return made;
}

function fullLine(info, y, width) {
  if (!info.full) return [];
  const { left, right } = EDGES;
  const at = y(info.full.value);
  const high = y(info.full.high);
  return [
    drawn("rect", {
      class: "full-band",
      x: left,
      y: high,
      width: width - right - left,
      height: Math.max(y(info.full.low) - high, 0),
    }),
    drawn("line", { class: "full", x1: left, x2: width - right, y1: at, y2: at }),
    drawn("text", { class: "name full-name", x: left + 5, y: at - 6 }, `full vectors ${measure(info.full.value)}`),
  ];
}

function line(points, x, y, choose) {
  const group = drawn("g", { class: "line nested" });
  const at = (side) => (p) => `${x(bytesOf(p)).toFixed(1)},${y(p[side]).toFixed(1)}`;
  if (points.length > 1) {
    const around = [...points.map(at("high")), ...points.map(at("low")).reverse()];
    group.append(drawn("polygon", { class: "band", points: around.join(" ") }));
    group.append(drawn("polyline", { class: "path", points: points.map(at("value")).join(" ") }));
  }
  for (const p of points) {
    const [cx, cy] = [x(bytesOf(p)), y(p.value)];
    const tip = `${count(bytesOf(p))} bytes: ${measure(p.value)} [${measure(p.low)}, ${measure(p.high)}]`;
    const touch = drawn("circle", { class: "touch", cx, cy, r: 10 }, drawn("title", {}, tip));
    touch.addEventListener("click", () => choose(p));
    group.append(drawn("circle", { class: "point", cx, cy, r: 3.2 }), touch);
  }
  return group;
}

/** A ring around the present point, or a bare line where nothing was measured. */
function marker(present, x, y, width, floor) {
  const at = x(present.bytes);
  const top = present.point ? y(present.point.value) + 8 : EDGES.top;
  const { middle, half } = tagOf(present, x, width);
  const level = floor + 17; // on the axis, over the ticks' numbers
  const made = [drawn("line", { class: "drop", x1: at, x2: at, y1: top, y2: floor })];
  if (present.point) made.push(drawn("circle", { class: "ring", cx: at, cy: y(present.point.value), r: 7 }));
  made.push(
    drawn("rect", { class: "tag", x: middle - half, y: level - 14, width: 2 * half, height: 20, rx: 10 }),
    drawn("text", { class: "tag-text", x: middle, y: level, "text-anchor": "middle" }, present.label),
  );
  return [drawn("g", { class: "chosen" }, ...made)];
}
