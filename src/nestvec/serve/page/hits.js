// Two lists of hits side by side, and lines from each hit to the same hit in the other list.

import { byId, drawn, element, measure } from "./words.js";

const SPREAD = 0.5;
const GLIDE_MS = 180;

/**
 * Show near (the small reading) beside far (what it is compared with).
 *
 * near, far: hits as /search gives them, or null where no answer to the present question is there.
 * names: {near, far}, what each is called within a sentence.
 */
export function show(near, far, names) {
  const compared = near !== null && far !== null;
  const before = new Map(rows("near").map((each) => [each.dataset.id, each.getBoundingClientRect().top]));
  fill("near", near ?? [], compared ? far : null, names.far);
  fill("far", far ?? [], compared ? near : null, names.near);
  link(compared);
  glide(before);
}

const rows = (side) => [...byId(side).querySelectorAll(".hit")];

/** Rows of the near list move to their new places, unless the reader wants no motion. */
function glide(before) {
  if (!before.size || !matchMedia("(prefers-reduced-motion: no-preference)").matches) return;
  let moves = 0;
  for (const row of rows("near")) {
    const from = before.get(row.dataset.id);
    const by = from === undefined ? 0 : from - row.getBoundingClientRect().top;
    if (from === undefined) row.animate([{ opacity: 0 }, { opacity: 1 }], GLIDE_MS);
    else if (Math.abs(by) > 1) {
      moves += 1;
      const frames = [{ transform: `translateY(${by}px)` }, { transform: "none" }];
      row.animate(frames, { duration: GLIDE_MS, easing: "ease-out" }).finished.then(() => link(), () => {});
    }
  }
  if (moves) byId("links").animate([{ opacity: 0 }, { opacity: 0, offset: 0.6 }, { opacity: 1 }], GLIDE_MS);
}

/** How many of the far hits are among the near ones. */
export function overlap(near, far) {
  const ids = new Set(near.map((hit) => hit.id));
  return far.filter((hit) => ids.has(hit.id)).length;
}

function fill(side, hits, others, otherName) {
  const list = byId(side).querySelector("ol");
  const open = new Set([...list.querySelectorAll("[aria-expanded=true]")].map((each) => each.dataset.id));
  const focused = list.contains(document.activeElement) ? document.activeElement.dataset.id : undefined;
  const ranks = new Map(others?.map((hit, rank) => [hit.id, rank]));
  list.replaceChildren(
    ...hits.map((hit, rank) => {
      const move = others === null ? null : moved(side, rank, ranks.get(hit.id), otherName);
      return item(side, hit, rank, move, open.has(hit.id));
    }),
  );
  // the list is new, but who was on a hit stays on it
  if (focused !== undefined) {
    const again = [...list.querySelectorAll("button")].find((each) => each.dataset.id === focused);
    (again ?? byId("hits")).focus({ preventScroll: true });
  }
}

/** What the other list says of a hit: {kind, mark, words}. */
function moved(side, rank, other, otherName) {
  if (other === undefined) {
    return side === "near"
      ? { kind: "new", mark: "new", words: `not among the hits of ${otherName}` }
      : { kind: "missed", mark: "missed", words: `not among the hits of ${otherName}` };
  }
  const words = `number ${other + 1} of ${otherName}`;
  if (other === rank) return { kind: "same", mark: "", words: `also ${words}` };
  // the line says it on the other side
  if (side === "far") return { kind: "moved", mark: "", words };
  const steps = Math.abs(other - rank);
  return { kind: "moved", mark: `${other > rank ? "▲" : "▼"}\u2009${steps}`, words };
}

function item(side, hit, rank, move, isOpen) {
  const text = hit.text && hit.text !== hit.title ? hit.text : "";
  const title = hit.title || text || hit.id;
  const rest = hit.title ? text : "";
  const button = element(
    "button",
    { type: "button", className: "title", "aria-expanded": String(isOpen) },
    ...breakable(title),
  );
  button.dataset.id = hit.id;
  const body = element("div", { className: "body" }, button);
  if (rest) body.append(element("p", { className: "snippet", textContent: rest }));
  const under = element("p", { className: "under" });
  if (move?.mark) {
    under.append(element("span", { className: `badge ${move.kind}`, title: move.words, "aria-hidden": "true", textContent: move.mark }));
  }
  if (move) under.append(element("span", { className: "unseen", textContent: `${move.words}.` }));
  if (title !== hit.id) under.append(element("span", { className: "id", textContent: hit.id }));
  under.append(element("span", { className: "score", title: "score", textContent: measure(hit.score) }));
  body.append(under);
  const made = element(
    "li",
    { className: `hit ${move?.kind ?? ""} ${isOpen ? "open" : ""}` },
    element("span", { className: "rank", "aria-hidden": "true", textContent: String(rank + 1) }),
    body,
  );
  made.dataset.id = hit.id;
  made.dataset.side = side;
  return made;
}

/** A text that may be broken where names like csv.DictWriter(f) have a joint. */
function breakable(text) {
  const parts = text.split(/(?<=[._/,:])(?=[^\s._/,:()])|(?=\([^)])/);
  return parts.flatMap((part, i) => (i ? [document.createElement("wbr"), part] : [part]));
}

/** Lines between the lists, from rank to rank; none where only one list is there. */
export function link(compared = byId("links").dataset.compared === "true") {
  const links = byId("links");
  links.dataset.compared = String(compared);
  if (!compared) {
    links.replaceChildren();
    return;
  }
  const frame = links.getBoundingClientRect();
  const width = frame.width;
  const places = (side) =>
    new Map(
      rows(side).map((each) => {
        const box = each.querySelector(".rank").getBoundingClientRect();
        return [each.dataset.id, box.top + box.height / 2 - frame.top];
      }),
    );
  const [near, far] = [places("near"), places("far")];
  const made = [];
  for (const [id, from] of near) {
    const to = far.get(id);
    made.push(to === undefined ? stub("new", id, 0, from, width) : bridge(id, from, to, width));
  }
  for (const [id, to] of far) if (!near.has(id)) made.push(stub("missed", id, width, to, width));
  links.replaceChildren(...made);
}

function bridge(id, from, to, width) {
  const bend = width * SPREAD;
  const d = `M0,${from.toFixed(1)} C${bend},${from.toFixed(1)} ${width - bend},${to.toFixed(1)} ${width},${to.toFixed(1)}`;
  const path = drawn("path", { class: "link", d });
  path.dataset.id = id;
  return path;
}

/** A short line that leads nowhere: a hit that the other list does not have. */
function stub(kind, id, start, y, width) {
  const end = start === 0 ? width * 0.26 : width * 0.74;
  const group = drawn(
    "g",
    { class: `stub ${kind}` },
    drawn("line", { x1: start, x2: end, y1: y, y2: y }),
    drawn("circle", { cx: end, cy: y, r: 3 }),
  );
  group.dataset.id = id;
  return group;
}

/** Listen for what readers do with hits: open one, point at one. */
export function listen() {
  const columns = byId("columns");
  columns.addEventListener("click", (event) => {
    const hit = event.target.closest(".hit");
    if (!hit || String(getSelection()).length) return;
    const isOpen = !hit.classList.contains("open");
    for (const each of same(hit.dataset.id)) {
      each.classList.toggle("open", isOpen);
      each.querySelector("button").setAttribute("aria-expanded", String(isOpen));
    }
    link();
  });
  const light = (event) => {
    const id = event.target.closest?.("[data-id]")?.dataset.id;
    for (const each of columns.querySelectorAll(".lit")) each.classList.remove("lit");
    if (id === undefined) return;
    for (const each of columns.querySelectorAll(".hit, .link, .stub")) {
      each.classList.toggle("lit", each.dataset.id === id);
    }
  };
  for (const kind of ["pointerover", "focusin"]) columns.addEventListener(kind, light);
  for (const kind of ["pointerleave", "focusout"]) columns.addEventListener(kind, light);
  new ResizeObserver(() => link()).observe(columns);
}

function same(id) {
  return [...byId("columns").querySelectorAll(".hit")].filter((each) => each.dataset.id === id);
}

/** The overlap as a sentence: "8 of 10 of the full vectors' hits". */
export function agreement(near, far, owner) {
  const found = overlap(near, far);
  return { share: `${found} of ${far.length}`, rest: ` of ${owner} ${far.length === 1 ? "hit" : "hits"}`, found };
}
