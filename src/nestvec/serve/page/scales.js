// From data to pixels, as nestvec/report/scales.py has it: bytes on a logarithmic axis.

const STEPS = [1, 2, 2.5, 5, 10];

export const logScale = (low, high, start, stop) => (value) =>
  start + (Math.log(value / low) / Math.log(high / low)) * (stop - start);

export const linearScale = (low, high, start, stop) => (value) =>
  start + ((value - low) / (high - low)) * (stop - start);

/** A little beyond the smallest and largest count. */
export function byteRange(values) {
  const found = values.filter((value) => value > 0);
  const low = Math.min(...found);
  return [low / 1.12, Math.max(...found, 4 * low) * 1.12];
}

/** At most `most` powers of two within low..high, evenly thinned. */
export function byteTicks(low, high, most) {
  const powers = Array.from({ length: 40 }, (_, i) => 2 ** i).filter((p) => low <= p && p <= high);
  const step = Math.max(1, Math.ceil(powers.length / most));
  return powers.filter((_, i) => i % step === 0);
}

/** From 0 where values come near it, else from a round start. */
export function qualityRange(lows, highs) {
  const low = Math.min(...lows);
  const high = Math.max(...highs);
  const top = high + 0.04 * Math.max(high - low, 0.05);
  if (low < 0.4 * top) return [Math.min(0, low), top];
  const step = qualityStep(low, top, 5);
  return [Math.floor(low / step) * step, top];
}

export function qualityTicks(low, high, most) {
  const step = qualityStep(low, high, most);
  const first = Math.ceil(low / step - 1e-9);
  const last = Math.floor(high / step + 1e-9);
  return Array.from({ length: last - first + 1 }, (_, i) => Number(((first + i) * step).toFixed(10)));
}

/** A round step (1, 2, 2.5 or 5 times a power of ten) giving at most `most` intervals. */
function qualityStep(low, high, most) {
  const raw = Math.max(high - low, 1e-9) / most;
  const power = 10 ** Math.floor(Math.log10(raw));
  return STEPS.map((step) => step * power).find((step) => step >= raw * (1 - 1e-9));
}
