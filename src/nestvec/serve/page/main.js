// The page: what the reader asks, and what is shown of the answers.

import { Away, Overtaken, Refusal, forgetKey, hasKey, info as askInfo, keepKey, search } from "./api.js";
import { agreement, link, listen, show } from "./hits.js";
import { picture, table } from "./curve.js";
import { costTable, costWords } from "./cost.js";
import { ways } from "./ways.js";
import { byId, count, element, measure, plural, times } from "./words.js";

const PAUSE_MS = 60;
const AGAIN_MS = 5000;

let info = null;
let way = null; // the present way to rank: see ways.js
let question = "";
const asked = { near: null, far: null }; // an AbortController while a side waits for its answer
const shown = { near: null, far: null }; // {asked, name, answer}: what each side shows
let pause = 0;
let again = 0;

// ---- the server's side

async function load() {
  try {
    info = await askInfo();
  } catch (error) {
    fail(error, "info");
    return;
  }
  calm();
  byId("unlock").hidden = true;
  introduce();
  if (info.searchable === false || (!info.rows && !info.plan)) return;
  byId("ask").hidden = false;
  byId("desk").hidden = false;
  fromAddress();
}

/** Ask for one side; an answer that was overtaken by a newer question is never shown. */
async function ask(side) {
  asked[side]?.abort();
  const own = new AbortController();
  asked[side] = own;
  const k = Number(byId("k").value);
  const about = { asked: `${k} ${question}`, name: side === "near" ? way.name() : farName() };
  const body = { ...questionBody(), k, ...(side === "near" ? way.body() : farBody()) };
  wait();
  try {
    const answer = await search(body, own.signal);
    if (asked[side] !== own) return;
    shown[side] = { ...about, answer };
    calm();
  } catch (error) {
    if (error instanceof Overtaken || asked[side] !== own) return;
    shown[side] = null;
    fail(error, side);
  }
  asked[side] = null;
  render();
}

function askBoth() {
  clearTimeout(pause);
  clearTimeout(again);
  if (!question) return;
  void ask("near");
  void ask("far");
}

/** The near side anew, once the slider rests. */
function askNear() {
  clearTimeout(pause);
  if (question) pause = setTimeout(() => void ask("near"), PAUSE_MS);
}

function questionBody() {
  return info.model ? { query: question } : { vector: vectorOf(question) };
}

function farBody() {
  return info.has_vectors ? { exact: true } : { bytes: info.cuts.at(-1) };
}

const farName = () => (info.has_vectors ? "the full vectors" : "the whole code");

/** The numbers of a pasted vector, or null where they are not as many as the collection wants. */
function vectorOf(text) {
  const words = text.replace(/[[\]()]/g, " ").split(/[\s,;]+/).filter(Boolean);
  const numbers = words.map(Number);
  return numbers.length === info.dim && numbers.every(Number.isFinite) ? numbers : null;
}

// ---- what is shown

function introduce() {
  document.title = `${info.name} · nestvec`;
  byId("name").textContent = info.name;
  byId("footer").hidden = false;
  byId("footer").textContent = `nestvec ${info.version}`;
  if (info.searchable === false || (!info.rows && !info.plan)) {
    byId("facts").textContent = `${plural(info.dim, "dimension")} · ${info.model ?? "no model"}`;
    say(
      "warn",
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
  const input = byId("question");
  const note = byId("question-note");
  if (info.model) {
    input.placeholder = "read rows of a comma separated file";
    byId("question-label").textContent = "Question";
    input.placeholder = "What are you looking for?";
  } else {
    byId("question-label").textContent = "Vector";
    input.placeholder = `${count(info.dim)} numbers`;
    note.hidden = false;
    note.textContent =
      `This collection was built from vectors, and no model here turns a text into one: paste ` +
      `${count(info.dim)} numbers, with commas or blanks between them.`;
  }
  byId("plan").value ||= info.plan;
  for (const radio of document.querySelectorAll("input[name=way]")) {
    const made = ways[radio.value];
    made.open(info);
    radio.disabled = !made.offered();
    radio.title = radio.disabled ? made.why() : "";
  }
  const values = byId("curve-values");
  values.hidden = !info.curve.length;
  if (info.curve.length) values.querySelector(".scroll").replaceChildren(table(info));
}

function take(name) {
  const radios = [...document.querySelectorAll("input[name=way]")];
  const wanted = radios.find((each) => each.value === name && !each.disabled);
  const radio = wanted ?? radios.find((each) => !each.disabled);
  radio.checked = true;
  way = ways[radio.value];
  byId("slide").hidden = way === ways.plan;
  byId("staged").hidden = way !== ways.plan;
  way.enter();
  read();
}

/** The reading beside the slider, and the mark on the curve. */
function read() {
  if (way !== ways.plan) {
    byId("reading").textContent = way.reading();
    byId("saving").textContent = way.saving();
  }
  draw();
}

function draw() {
  const place = byId("picture");
  const width = Math.floor(place.clientWidth);
  if (!info || !width) return;
  if (!info.curve.length) {
    place.replaceChildren();
    byId("curve-note").textContent =
      "There is no curve: the quality of this collection was not measured when it was built.";
    return;
  }
  const present = way.present(shown.near?.answer ?? null);
  const height = width < 480 ? 220 : 250;
  place.replaceChildren(picture(info, present, width, height, (point) => choose(point)));
  byId("curve-note").textContent = way.curveNote(present);
}

function choose(point) {
  if (!ways.bytes.set(point.bytes)) return;
  take("bytes");
  toAddress("replace");
  askNear();
}

function render() {
  const near = shown.near;
  const far = shown.far;
  const newest = `${byId("k").value} ${question}`;
  const fresh = [near, far].some((each) => each?.asked === newest);
  // hits of an older question stay until one side knows better
  const nearHits = near && (!fresh || near.asked === newest) ? near.answer.hits : null;
  const farHits = far && (!fresh || far.asked === newest) ? far.answer.hits : null;
  heading("near", near ? near.name : way.name(), near ? `${count(near.answer.bytes_per_vector)} bytes a vector` : "");
  heading("far", farName(), farSize(far?.answer));
  show(nearHits, farHits, { near: near?.name ?? way.name(), far: farName() });
  if (nearHits === null) byId("near").querySelector("ol").replaceChildren();
  if (farHits === null) byId("far").querySelector("ol").replaceChildren();
  byId("columns").hidden = !nearHits?.length && !farHits?.length;
  byId("columns").classList.toggle("waiting", Boolean(asked.near || asked.far));
  byId("columns").setAttribute("aria-busy", String(Boolean(asked.near || asked.far)));
  link(nearHits !== null && farHits !== null);
  tell(near, nearHits, farHits);
  const answers = { near: nearHits && near, far: farHits && far };
  byId("cost").replaceChildren(...costTable(answers.near, answers.far));
  byId("cost-note").textContent = costWords(answers.near, answers.far);
  draw();
}

const wait = () => {
  byId("columns").classList.add("waiting");
  byId("columns").setAttribute("aria-busy", "true");
};

function heading(side, name, size) {
  byId(`${side}-name`).textContent = name.replace(/^the /, "").replace(/^./, (c) => c.toUpperCase());
  byId(`${side}-size`).textContent = size;
}

function farSize(answer) {
  if (!info.has_vectors) return answer ? `${count(answer.bytes_per_vector)} bytes a vector` : "";
  const stored = answer?.bytes_per_vector;
  const kept = stored && stored !== info.full_bytes ? `, stored in ${count(stored)}` : "";
  return `${count(info.full_bytes)} bytes${kept}`;
}

/** The overlap in a sentence, and what is missing. */
function tell(near, nearHits, farHits) {
  const place = byId("overlap");
  const note = byId("hits-note");
  note.textContent = "";
  if (!question) {
    place.replaceChildren();
    note.textContent =
      "Ask something: the hits by few bytes then stand beside those of the full vectors, and the slider " +
      "says how few.";
    return;
  }
  if (nearHits === null && farHits === null) {
    place.replaceChildren();
    return;
  }
  if (nearHits && farHits && !nearHits.length && !farHits.length) {
    place.replaceChildren();
    note.textContent = "No hits: nothing in this collection answers the question.";
    return;
  }
  if (nearHits === null || farHits === null) {
    place.replaceChildren();
  } else {
    const owner = info.has_vectors ? "the full vectors’" : "the whole code’s";
    const { share, rest } = agreement(nearHits, farHits, owner);
    place.replaceChildren(element("strong", { textContent: share }), `${rest} ${way.at(near)}`);
  }
  const words = [];
  if (!info.has_vectors) {
    words.push(
      "This collection keeps no full vectors, so its whole code stands in their place: you see what " +
        "the cut changes, not what the code loses.",
    );
  }
  if (!info.has_texts) words.push("This collection keeps no texts: hits are named by their ids.");
  note.textContent = words.join(" ");
}

// ---- what goes wrong

function fail(error, where) {
  if (error instanceof Refusal && error.status === 401) {
    const wrong = hasKey();
    forgetKey();
    byId("unlock").hidden = false;
    byId("facts").textContent = "Locked.";
    if (wrong) say("warn", "The server does not take this key.");
    byId("key").value = "";
    byId("key").focus();
    return;
  }
  if (error instanceof Refusal && where === "near" && way === ways.plan) {
    byId("plan").setAttribute("aria-invalid", "true");
  }
  const retry = element("button", { type: "button", textContent: "Try again" });
  const tryAgain = () => (info ? askBoth() : void load());
  retry.addEventListener("click", tryAgain);
  if (error instanceof Away) {
    if (!info) byId("facts").textContent = "Nothing is known of the collection yet.";
    say("warn", error.message, retry);
    clearTimeout(again);
    again = setTimeout(() => document.hidden || tryAgain(), AGAIN_MS);
  } else if (error instanceof Refusal) {
    say("warn", error.message, ...(error.status === 429 || error.status >= 500 ? [retry] : []));
  } else {
    say("warn", `This page failed: ${error.message}`);
    throw error;
  }
}

/** One sentence above everything; said again only where it is another one. */
function say(kind, sentence, ...more) {
  const old = byId("alerts").querySelector("p");
  if (old?.dataset.sentence === sentence) return;
  const said = element("p", { className: kind }, `${sentence} `, ...more);
  said.dataset.sentence = sentence;
  byId("alerts").replaceChildren(said);
}

function calm() {
  clearTimeout(again);
  byId("alerts").replaceChildren();
  byId("plan").removeAttribute("aria-invalid");
}

// ---- the address: #q=...&k=10&bytes=16, so that a reading can be kept and sent

function toAddress(how) {
  const words = new URLSearchParams();
  if (question) words.set("q", question);
  words.set("k", byId("k").value);
  words.set(...way.word());
  const address = `#${words}`;
  if (address === location.hash) return;
  history[how === "push" ? "pushState" : "replaceState"](null, "", address);
}

function fromAddress() {
  const words = new URLSearchParams(location.hash.slice(1));
  question = words.get("q") ?? "";
  byId("question").value = question;
  const k = words.get("k");
  if ([...byId("k").options].some((each) => each.value === k)) byId("k").value = k;
  const named = Object.keys(ways).find((name) => words.has(name));
  if (named) ways[named].set(named === "plan" ? words.get(named) : Number(words.get(named)));
  take(named ?? "bytes");
  shown.near = shown.far = null;
  render();
  if (question && (info.model || vectorOf(question))) askBoth();
}

// ---- what the reader does

byId("ask").addEventListener("submit", (event) => {
  event.preventDefault();
  const words = byId("question").value.trim();
  if (!words) {
    byId("question").focus();
    return;
  }
  if (!info.model && vectorOf(words) === null) {
    say("warn", `A vector of this collection is ${count(info.dim)} numbers; got ${count(words.split(/[\s,;]+/).length)} words that are not.`);
    return;
  }
  question = words;
  toAddress("push");
  askBoth();
});

byId("k").addEventListener("change", () => {
  toAddress("replace");
  askBoth();
});

byId("slider").addEventListener("input", (event) => {
  way.move(Number(event.target.value));
  read();
  toAddress("replace");
  askNear();
});

byId("ways").addEventListener("change", (event) => {
  take(event.target.value);
  toAddress("replace");
  askNear();
});

byId("staged").addEventListener("submit", (event) => {
  event.preventDefault();
  toAddress("replace");
  askNear();
});

byId("unlock").addEventListener("submit", (event) => {
  event.preventDefault();
  keepKey(byId("key").value.trim());
  byId("alerts").replaceChildren();
  if (info) {
    byId("unlock").hidden = true;
    introduce();
    askBoth();
  } else void load();
});

addEventListener("popstate", () => info && way && fromAddress());
new ResizeObserver(draw).observe(byId("picture"));
listen();
void load();
if (matchMedia("(hover: hover)").matches) addEventListener("load", () => byId("question").focus());
