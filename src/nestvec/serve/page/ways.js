// The three ways to rank: by a cut of the code, by a width of the vectors, by a plan of stages.

import { bytesOf } from "./curve.js";
import { byId, count, measure, plural, times } from "./words.js";

let info = null;
const LABELS = 8;

/** What the slider moves over: values, rising, and the index of the present one. */
class Sliding {
  constructor(word, label, unit) {
    this.word_ = word;
    this.label = label;
    this.unit = unit;
    this.values = [];
    this.index = 0;
  }

  get value() {
    return this.values[this.index];
  }

  offered() {
    return this.values.length > 0;
  }

  /** Go to a value; false where there is no such one. */
  set(value) {
    const index = this.values.indexOf(value);
    if (index >= 0) this.index = index;
    return index >= 0;
  }

  move(index) {
    this.index = index;
    this.say();
  }

  enter() {
    const slider = byId("slider");
    slider.max = String(this.values.length - 1);
    slider.value = String(this.index);
    slider.disabled = this.values.length < 2;
    slider.setAttribute("aria-label", this.label);
    this.say();
    this.mark();
  }

  say() {
    byId("slider").setAttribute("aria-valuetext", plural(this.value, this.unit));
  }

  /** The values below the slider, where there is room for them. */
  mark() {
    const last = this.values.length - 1;
    const step = Math.ceil(this.values.length / LABELS);
    const marks = this.values.map((value, i) => {
      const mark = document.createElement("span");
      mark.style.setProperty("--at", String(last ? i / last : 0));
      const named = i === last || (i % step === 0 && last - i >= step / 2);
      mark.textContent = named ? count(value) : "";
      return mark;
    });
    byId("marks").replaceChildren(...marks);
  }

  body() {
    return { [this.word_]: this.value };
  }

  word() {
    return [this.word_, String(this.value)];
  }
}

class Bytes extends Sliding {
  constructor() {
    super("bytes", "Bytes of code read of each vector", "byte");
  }

  open(found) {
    info = found;
    this.values = found.cuts;
    // where the collection's own plan begins
    const first = /(?:^|;)(\d+)B:/.exec(found.plan);
    if (!this.set(Number(first?.[1]))) this.index = Math.max(0, this.values.length - 1);
  }

  why() {
    return "This collection has no code that can be cut.";
  }

  name() {
    return plural(this.value, "byte");
  }

  /** The point of the curve at a cut, or null where it was not measured. */
  point(cut = this.value) {
    return info.curve.find((p) => p.bytes === cut) ?? null;
  }

  /** Bytes read of a vector at a cut, its norm among them where that is known. */
  read(cut = this.value) {
    const point = this.point(cut);
    return point ? bytesOf(point) : cut;
  }

  reading() {
    return `${plural(this.value, "byte")} of code`;
  }

  saving() {
    const read = this.read();
    const norm = read > this.value ? `${count(read)} with the norm, ` : "";
    const only = this.values.length === 1 ? "; this code has no other cut" : "";
    return `${norm}${times(info.full_bytes / read)} times fewer than ${count(info.full_bytes)}${only}`;
  }

  /** Where it reads, for the end of a sentence about its answer. */
  at(answer) {
    const most = info.has_vectors ? info.full_bytes : this.read(this.values.at(-1));
    return `at ${count(answer.bytes_per_vector)} of ${plural(most, "byte")}.`;
  }

  present() {
    return { bytes: this.read(), point: this.point(), label: plural(this.read(), "byte") };
  }

  curveNote({ point, label }) {
    if (!point) return `What ${label} find was not measured.`;
    const full = info.full ? ` The full vectors: ${measure(info.full.value)}.` : "";
    return (
      `${info.measure} at ${label}, norm included: ${measure(point.value)}, 95 % interval ` +
      `${measure(point.low)} to ${measure(point.high)}.${full} Measured when the collection was built.`
    );
  }
}

class Dims extends Sliding {
  constructor() {
    super("dims", "Leading dimensions read of each vector", "dimension");
  }

  open(found) {
    this.values = found.has_vectors ? found.dims : [];
    this.index = Math.floor(this.values.length / 2);
  }

  why() {
    return "This collection keeps no vectors.";
  }

  name() {
    return plural(this.value, "dimension");
  }

  reading() {
    return `${plural(this.value, "dimension")} of ${count(info.dim)}`;
  }

  saving() {
    return `${plural(4 * this.value, "byte")} as float32`;
  }

  at(answer, width) {
    return `at ${count(width)} of ${plural(info.dim, "dimension")}.`;
  }

  present() {
    return { bytes: 4 * this.value, point: null, label: plural(this.value, "dimension") };
  }

  curveNote() {
    return "The curve is that of the code; what dimensions of the vectors find was not measured here.";
  }
}

/** Stages as the reader writes them. */
const plan = {
  open: () => {},
  offered: () => Boolean(info.plan),
  why: () => "This collection has no plan.",
  enter: () => {},
  set: (text) => {
    byId("plan").value = text;
    return true;
  },
  text: () => byId("plan").value.trim() || info.plan,
  name: () => "the plan",
  body: () => ({ plan: plan.text() }),
  word: () => ["plan", plan.text()],
  at: (answer) => `by ${answer.plan}.`,
  present: (answer) =>
    answer && answer.bytes_per_vector <= 2 * info.full_bytes
      ? { bytes: answer.bytes_per_vector, point: null, label: plural(answer.bytes_per_vector, "byte") }
      : null,
  curveNote: () =>
    "The curve is that of the code, cut and ranked by; the mark is the most that the plan reads of a vector.",
};

export const ways = { bytes: new Bytes(), dims: new Dims(), plan };
