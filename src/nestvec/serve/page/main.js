// The page: what the reader does, and what is asked of the server for it.

import { alarm, alarmPlan, calm } from "./alerts.js";
import { Away, Overtaken, Refusal, forgetKey, hasKey, info, keepKey, search } from "./api.js";
import { listen } from "./hits.js";
import { farName, searchable, state } from "./state.js";
import { vectorOf, wrongVector } from "./vectors.js";
import { busy, draw, introduce, read, render, take } from "./view.js";
import { ways } from "./ways.js";
import { byId, element } from "./words.js";

const PAUSE_MS = 60;
const AGAIN_MS = 5000;

const timers = { pause: 0, again: 0 };

// ---- asking

async function load() {
  try {
    state.info = await info();
  } catch (error) {
    fail(error, "info");
    return;
  }
  calm("info");
  byId("unlock").hidden = true;
  introduce();
  if (!searchable()) return;
  byId("ask").hidden = false;
  byId("desk").hidden = false;
  fromAddress();
  // on a phone the keyboard would cover half of the page
  if (matchMedia("(hover: hover)").matches && document.activeElement === document.body) {
    byId("question").focus();
  }
}

/**
 * Tell what is known anew where an answer came from another version of the collection, and ask again
 * what older ones have answered. Where the server does not say, the next answer asks.
 */
async function renew(version) {
  if (version === state.info.collection_version || state.renewing) return;
  state.renewing = true;
  try {
    const before = { plan: state.info.plan, way: state.way, value: state.way.value };
    const values = [ways.bytes, ways.dims].map((way) => [way, way.value]);
    state.info = await info();
    if (byId("plan").value === before.plan) byId("plan").value = "";
    introduce();
    for (const [way, value] of values) way.set(value);
    take(before.way.word()[0]);
    const isOther = state.way !== before.way || state.way.value !== before.value;
    if (isOther) toAddress("replace");
    const isOld = (side) =>
      state.shown[side] && state.shown[side].answer.collection_version !== state.info.collection_version;
    if (isOther || isOld("near")) void ask("near");
    if (isOld("far")) void ask("far");
  } catch (error) {
    if (!(error instanceof Refusal || error instanceof Away)) throw error;
  } finally {
    state.renewing = false;
  }
}

/** What an answer is about: hits are compared only where this is the same. */
const about = () => `${byId("k").value} ${state.question}`;

/** Ask for one side; an answer that was overtaken by a newer question is never shown. */
async function ask(side) {
  state.asked[side]?.abort();
  const own = new AbortController();
  state.asked[side] = own;
  busy(true);
  const near = side === "near";
  const { way } = state;
  // as it is now: the slider may move on before the answer comes
  const value = way.value;
  const told = { about: about(), name: near ? way.name() : farName() };
  const body = { ...questionBody(), k: Number(byId("k").value), ...(near ? way.body() : farBody()) };
  try {
    const answer = await search(body, own.signal);
    if (state.asked[side] !== own) return;
    state.shown[side] = { ...told, at: near ? way.at(answer, value) : "", answer };
    calm(side);
    void renew(answer.collection_version);
  } catch (error) {
    if (error instanceof Overtaken || state.asked[side] !== own) return;
    state.shown[side] = null;
    fail(error, side);
  }
  state.asked[side] = null;
  render(about());
}

function askBoth() {
  clearTimeout(timers.pause);
  clearTimeout(timers.again);
  if (!state.question) return;
  void ask("near");
  void ask("far");
}

/** The near side anew, once the slider rests. */
function askNear() {
  clearTimeout(timers.pause);
  if (state.question) timers.pause = setTimeout(() => void ask("near"), PAUSE_MS);
}

function questionBody() {
  const { info: known, question } = state;
  return known.model ? { query: question } : { vector: vectorOf(question, known.dim) };
}

const farBody = () => (state.info.has_vectors ? { exact: true } : { bytes: state.info.cuts.at(-1) });

// ---- what goes wrong

function fail(error, where) {
  if (error instanceof Refusal && error.status === 401) {
    lock();
    return;
  }
  if (error instanceof Refusal && error.param === "plan" && where === "near" && state.way === ways.plan) {
    calm("near");
    alarmPlan(error.message);
    return;
  }
  const retry = element("button", { type: "button", textContent: "Try again" });
  const tryAgain = () => (state.info ? askBoth() : void load());
  retry.addEventListener("click", tryAgain);
  if (error instanceof Away) {
    if (!state.info) byId("facts").textContent = "Nothing is known of the collection yet.";
    alarm(where, error.message, retry);
    clearTimeout(timers.again);
    timers.again = setTimeout(() => document.hidden || tryAgain(), AGAIN_MS);
  } else if (error instanceof Refusal) {
    alarm(where, error.message, ...(error.status === 429 || error.status >= 500 ? [retry] : []));
  } else {
    alarm(where, `This page failed: ${error.message}`);
    throw error;
  }
}

function lock() {
  const wasWrong = hasKey();
  forgetKey();
  byId("unlock").hidden = false;
  if (!state.info) byId("facts").textContent = "Locked.";
  if (wasWrong) alarm("info", "The server does not take this key.");
  byId("key").value = "";
  byId("key").focus();
}

// ---- the address: #q=...&k=10&bytes=16, so that a reading can be kept and sent

function toAddress(how) {
  const words = new URLSearchParams();
  if (state.question) words.set("q", state.question);
  words.set("k", byId("k").value);
  words.set(...state.way.word());
  const address = `#${words}`;
  if (address === location.hash) return;
  history[how === "push" ? "pushState" : "replaceState"](null, "", address);
}

function fromAddress() {
  const words = new URLSearchParams(location.hash.slice(1));
  state.question = words.get("q") ?? "";
  byId("question").value = state.question;
  const k = words.get("k");
  if ([...byId("k").options].some((each) => each.value === k)) byId("k").value = k;
  const named = Object.keys(ways).find((name) => words.has(name));
  if (named) ways[named].set(named === "plan" ? words.get(named) : Number(words.get(named)));
  take(named ?? "bytes");
  if (!state.info.model && !vectorOf(state.question, state.info.dim)) state.question = "";
  state.shown.near = state.shown.far = null;
  render(about());
  askBoth();
}

// ---- what the reader does

byId("ask").addEventListener("submit", (event) => {
  event.preventDefault();
  const words = byId("question").value.trim();
  const { model, dim } = state.info;
  if (!words) {
    byId("question").focus();
  } else if (!model && !vectorOf(words, dim)) {
    alarm("info", wrongVector(words, dim));
  } else {
    calm("info");
    state.question = words;
    toAddress("push");
    askBoth();
  }
});

byId("k").addEventListener("change", () => {
  toAddress("replace");
  askBoth();
});

byId("slider").addEventListener("input", (event) => {
  state.way.move(Number(event.target.value));
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

byId("picture").addEventListener("choose", ({ detail: point }) => {
  if (!ways.bytes.set(point.bytes)) return;
  take("bytes");
  toAddress("replace");
  askNear();
});

byId("unlock").addEventListener("submit", (event) => {
  event.preventDefault();
  keepKey(byId("key").value.trim());
  calm("info");
  byId("unlock").hidden = true;
  if (state.info) askBoth();
  else void load();
});

// by hand: the address behind the # is the reading's
document.querySelector(".skip").addEventListener("click", (event) => {
  event.preventDefault();
  byId("hits").focus();
});

addEventListener("popstate", () => state.way && fromAddress());
new ResizeObserver(draw).observe(byId("picture"));
listen();
void load();
