// Requests to the server that the page came from. Addresses are relative, so that the page also
// works where a proxy puts it below a path of its own.

const KEY = "nestvec key";
const LONGEST_S = 30;

/** The server refused: its own sentence, the status and the field at fault. */
export class Refusal extends Error {
  constructor(sentence, status, param) {
    super(sentence);
    this.status = status;
    this.param = param;
  }
}

/** No answer came. */
export class Away extends Error {}

/** The request was given up for a newer one. */
export class Overtaken extends Error {}

export function keepKey(key) {
  sessionStorage.setItem(KEY, key);
}

export function forgetKey() {
  sessionStorage.removeItem(KEY);
}

export const hasKey = () => sessionStorage.getItem(KEY) !== null;

export const info = () => call("info");

/** The answer of POST /search; signal: an AbortSignal by which the caller gives it up. */
export const search = (body, signal) => call("search", body, signal);

async function call(path, body, signal) {
  const clock = new AbortController();
  const timer = setTimeout(() => clock.abort(), LONGEST_S * 1000);
  const giveUp = () => clock.abort();
  signal?.addEventListener("abort", giveUp);
  try {
    if (signal?.aborted) throw new Overtaken();
    const response = await fetch(path, { ...request(body), signal: clock.signal });
    return await read(response);
  } catch (error) {
    if (signal?.aborted) throw new Overtaken();
    if (error instanceof Refusal) throw error;
    throw new Away(
      clock.signal.aborted
        ? `The server has not answered for ${LONGEST_S} seconds.`
        : "The server does not answer. Is nestvec serve still running?",
    );
  } finally {
    clearTimeout(timer);
    signal?.removeEventListener("abort", giveUp);
  }
}

function request(body) {
  const headers = { accept: "application/json" };
  const key = sessionStorage.getItem(KEY);
  if (key !== null) headers.authorization = `Bearer ${key}`;
  if (body === undefined) return { headers, cache: "no-store" };
  headers["content-type"] = "application/json";
  return { method: "POST", headers, body: JSON.stringify(body) };
}

async function read(response) {
  const text = await response.text();
  let found;
  try {
    found = JSON.parse(text);
  } catch {
    throw new Refusal(`The server answered ${response.status}, and not in JSON.`, response.status);
  }
  if (response.ok) return found;
  const fault = found.error ?? {};
  let sentence = fault.message || `The server answered ${response.status}.`;
  const wait = response.headers.get("retry-after");
  if (response.status === 429 && wait) sentence += ` Try again in ${wait} s.`;
  throw new Refusal(sentence, response.status, fault.param);
}
