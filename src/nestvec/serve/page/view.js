// What is shown of the collection and of the answers.

import { alarm } from "./alerts.js";
import { costTable, costWords } from "./cost.js";
import { picture, table } from "./curve.js";
import { agreement, show } from "./hits.js";
import { farName, searchable, state } from "./state.js";
import { ways } from "./ways.js";
import { byId, count, element, plural } from "./words.js";

/** Name and facts of what is served, and the ways that it can be ranked by. */
export function introduce() {
  const { info } = state;
  document.title = `${info.name} · nestvec`;
  byId("name").textContent = info.name;
  byId("footer").hidden = false;
  byId("footer").textContent = `nestvec ${info.version}`;
  if (!searchable()) {
    byId("facts").textContent = `${plural(info.dim, "dimension")} · ${info.model ?? "no model"}`;
    alarm(
      "info",
      "This server turns texts into vectors and holds no collection, so there is nothing to search " +
        "here. Programs ask it at v1/embeddings.",
    );
    return;
  }
  byId("facts").textContent = [
    plural(info.rows, "row"),
    plural(info.dim, "dimension"),
    info.model ?? "built from vectors",
    `code ${info.spec}`,
    `plan ${info.plan}`,
  ].join(" · ");
  byId("question-label").textContent = info.model ? "Question" : "Vector";
  byId("question").placeholder = info.model ? "What are you looking for?" : `${count(info.dim)} numbers`;
  byId("question-note").hidden = Boolean(info.model);
  byId("question-note").textContent =
    "This collection was built from vectors, and no model here turns a text into one: paste " +
    `${count(info.dim)} numbers, with commas or blanks between them.`;
  byId("plan").value ||= info.plan;
  for (const radio of document.querySelectorAll("input[name=way]")) {
    const way = ways[radio.value];
    way.open(info);
    radio.disabled = !way.offered();
    radio.title = radio.disabled ? way.why() : "";
  }
  byId("curve-values").hidden = !info.curve.length;
  if (info.curve.length) byId("curve-values").querySelector(".scroll").replaceChildren(table(info));
}

/** Rank this way from now on, or by the first that the collection has. */
export function take(name) {
  const radios = [...document.querySelectorAll("input[name=way]")].filter((each) => !each.disabled);
  const radio = radios.find((each) => each.value === name) ?? radios[0];
  radio.checked = true;
  state.way = ways[radio.value];
  byId("slide").hidden = state.way === ways.plan;
  byId("staged").hidden = state.way !== ways.plan;
  state.way.enter();
  read();
}

/** The reading beside the slider, and the mark on the curve. */
export function read() {
  if (state.way !== ways.plan) {
    byId("reading").textContent = state.way.reading();
    byId("saving").textContent = state.way.saving();
  }
  draw();
}

/** The curve, as wide as there is room. */
export function draw() {
  const place = byId("picture");
  const width = Math.floor(place.clientWidth);
  const { info, way } = state;
  if (!info || !way || !width) return;
  if (!info.curve.length) {
    place.replaceChildren();
    byId("curve-note").textContent =
      "There is no curve: the quality of this collection was not measured when it was built.";
    return;
  }
  const present = way.present(state.shown.near?.answer ?? null);
  const choose = (detail) => place.dispatchEvent(new CustomEvent("choose", { detail }));
  place.replaceChildren(picture(info, present, width, width < 480 ? 220 : 250, choose));
  byId("curve-note").textContent = way.curveNote(present);
}

/** Both lists of hits, what they share, and what they cost; about: the present question. */
export function render(about) {
  // hits of an older question stay until one side knows better
  const isNew = ["near", "far"].some((side) => state.shown[side]?.about === about);
  const current = (side) => {
    const found = state.shown[side];
    return found && (!isNew || found.about === about) ? found : null;
  };
  const [near, far] = [current("near"), current("far")];
  const silent = (side) => (state.asked[side] ? "…" : "not answered");
  const nearName = near?.name ?? state.way.name();
  heading("near", nearName, near ? sizeOf(near.answer) : silent("near"));
  heading("far", farName(), far ? farSize(far.answer) : silent("far"));
  const [nearHits, farHits] = [near?.answer.hits ?? null, far?.answer.hits ?? null];
  byId("columns").hidden = !nearHits?.length && !farHits?.length;
  byId("legend").hidden = Boolean(state.question) && byId("columns").hidden;
  show(nearHits, farHits, { near: nearName, far: farName() });
  tell(near, far);
  byId("cost").replaceChildren(...costTable(near, far));
  byId("cost-note").textContent = costWords(near, far);
  busy(Boolean(state.asked.near || state.asked.far));
  draw();
}

/** Whether an answer is on its way. */
export function busy(isBusy) {
  byId("columns").classList.toggle("waiting", isBusy);
  byId("columns").setAttribute("aria-busy", String(isBusy));
}

function heading(side, name, size) {
  byId(`${side}-name`).textContent = name.replace(/^the /, "").replace(/^./, (c) => c.toUpperCase());
  byId(`${side}-size`).textContent = size;
}

const sizeOf = (answer) => `${plural(answer.bytes_per_vector, "byte")} a vector`;

function farSize(answer) {
  const { has_vectors: hasVectors, full_bytes: full } = state.info;
  if (!hasVectors) return sizeOf(answer);
  const stored = answer.bytes_per_vector;
  return `${count(full)} bytes${stored === full ? "" : `, stored in ${count(stored)}`}`;
}

/** The overlap in a sentence, and what is missing. */
function tell(near, far) {
  byId("hits").classList.toggle("idle", !state.question);
  byId("hits-note").textContent = note();
  if (!near || !far) {
    byId("overlap").replaceChildren();
    return;
  }
  if (!near.answer.hits.length && !far.answer.hits.length) {
    byId("overlap").replaceChildren("No hits: nothing in this collection answers the question.");
    return;
  }
  const owner = state.info.has_vectors ? "the full vectors’" : "the whole code’s";
  const { share, rest } = agreement(near.answer.hits, far.answer.hits, owner);
  byId("overlap").replaceChildren(element("strong", { textContent: share }), `${rest} ${near.at}`);
}

function note() {
  const { info } = state;
  const words = [];
  if (!state.question) {
    words.push(
      "Ask something: the hits by few bytes then stand beside those of the full vectors, and the slider " +
        "says how few.",
    );
  }
  if (!info.has_vectors) {
    words.push(
      "This collection keeps no full vectors, so its whole code stands in their place: you see what " +
        "the cut changes, not what the code loses.",
    );
  }
  if (!info.has_texts) words.push("This collection keeps no texts: hits are named by their ids.");
  return words.join(" ");
}
