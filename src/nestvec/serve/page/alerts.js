// What went wrong, told above the page until it is mended: one fault a side, and one of /info.

import { byId, element } from "./words.js";

const faults = { info: null, near: null, far: null };

/** Tell a fault; more: elements behind it, such as a button. */
export function alarm(where, sentence, ...more) {
  faults[where] = { sentence, more };
  tell();
}

/** Tell a fault of the plan beside its field. */
export function alarmPlan(sentence) {
  byId("plan").setAttribute("aria-invalid", "true");
  byId("plan-fault").textContent = sentence;
}

/** What was wrong there is no longer. */
export function calm(where) {
  faults[where] = null;
  tell();
  if (where !== "near") return;
  byId("plan").removeAttribute("aria-invalid");
  byId("plan-fault").textContent = "";
}

function tell() {
  const place = byId("alerts");
  const fault = faults.info ?? faults.near ?? faults.far;
  const told = place.querySelector("p");
  if (!fault) place.replaceChildren();
  else if (told?.dataset.sentence !== fault.sentence) {
    // said again only where it is another one
    const said = element("p", { className: "warn" }, `${fault.sentence} `, ...fault.more);
    said.dataset.sentence = fault.sentence;
    place.replaceChildren(said);
  }
}
