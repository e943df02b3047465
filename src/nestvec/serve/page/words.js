// How the page writes numbers and makes elements.

/** 1536 as "1,536". */
export const count = (value) => Math.round(value).toLocaleString("en-US");

/** A measure as the report writes it: three decimals, no leading zero. */
export function measure(value) {
  const text = value.toFixed(3);
  return Number(text) === 0 ? ".000" : text.replace(/^(-?)0\./, "$1.");
}

/** Milliseconds in about two digits: ".41", "3.2", "140". */
export function milliseconds(value) {
  if (value >= 10) return count(value);
  return value.toFixed(value < 1 ? 2 : 1).replace(/^0\./, ".");
}

/** A ratio in words: "90", "1.5". */
export const times = (ratio) => (ratio < 9.95 ? ratio.toFixed(1).replace(/\.0$/, "") : count(ratio));

export const plural = (number, one, more = `${one}s`) => `${count(number)} ${number === 1 ? one : more}`;

export const byId = (id) => document.getElementById(id);

/** An element with properties, attributes (those with a dash, role, scope) and children. */
export function element(name, properties = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(properties)) {
    if (value === undefined) continue;
    if (key.includes("-") || key === "role" || key === "scope" || key === "colspan") {
      made.setAttribute(key, value);
    } else made[key] = value;
  }
  made.append(...children);
  return made;
}

const SVG = "http://www.w3.org/2000/svg";

/** An SVG element with attributes and children. */
export function drawn(name, attributes = {}, ...children) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) {
    made.setAttribute(key, typeof value === "number" ? String(Math.round(value * 10) / 10) : value);
  }
  made.append(...children);
  return made;
}
