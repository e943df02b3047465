// What each stage of both searches read, kept and took.

import { count, element, milliseconds, times } from "./words.js";

const HEADS = ["stage", "rows", "kept", "bytes", "ms"];

/** The table, as a list of one element; near, far: what the sides show, or null. */
export function costTable(near, far) {
  if (!near && !far) {
    return [element("p", { className: "soft small", textContent: "Nothing was asked yet." })];
  }
  const heads = HEADS.map((text, i) =>
    element("th", { scope: "col", className: i ? "num" : "", textContent: text }),
  );
  return [
    element(
      "table",
      {},
      element("thead", {}, element("tr", {}, ...heads)),
      ...(near ? [group(near, "is-near")] : []),
      ...(far ? [group(far, "")] : []),
    ),
  ];
}

function group({ name, answer }, kind) {
  const title = name.replace(/^the /, "").replace(/^./, (c) => c.toUpperCase());
  const head = element("th", { scope: "rowgroup", colspan: String(HEADS.length), textContent: title });
  const rows = answer.stages.map((stage) =>
    element(
      "tr",
      {},
      element("th", { scope: "row" }, element("code", { textContent: stage.stage })),
      ...[count(stage.rows), count(stage.kept), count(stage.bytes_read), milliseconds(stage.ms)].map(
        (text) => element("td", { className: "num", textContent: text }),
      ),
    ),
  );
  return element("tbody", { className: kind }, element("tr", { className: "group" }, head), ...rows);
}

/** The comparison in words. */
export function costWords(near, far) {
  const any = near ?? far;
  if (!any) return "";
  const words = [];
  if (near && far) {
    const [few, many] = [total(near), total(far)];
    if (few > 0 && many > few) words.push(`${times(many / few)} times fewer bytes.`);
  }
  const took = [near, far].filter(Boolean).map(({ answer }) => milliseconds(answer.ms));
  words.push(`In all ${took.join(" and ")} ms, with the texts of the hits.`);
  if (any.answer.encode_ms > 0) {
    words.push(`Before, ${milliseconds(any.answer.encode_ms)} ms went by until the question was encoded.`);
  }
  return words.join(" ");
}

const total = ({ answer }) => answer.stages.reduce((sum, stage) => sum + stage.bytes_read, 0);
