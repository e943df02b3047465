// What the page knows, shared by what asks and what shows.

export const state = {
  /** What /info said, or null. */
  info: null,
  /** Whether that is being asked for again. */
  renewing: false,
  /** The present way to rank: one of ways.js. */
  way: null,
  /** As it was last sent, or empty. */
  question: "",
  /** The AbortController of each side that waits for its answer. */
  asked: { near: null, far: null },
  /** What each side shows: {about, name, at, answer}; about: question and count that it answers. */
  shown: { near: null, far: null },
};

/** Whether the server has a collection, and not a model alone. */
export const searchable = () => state.info.searchable !== false;

/** What the far side is, within a sentence. */
export const farName = () => (state.info.has_vectors ? "the full vectors" : "the whole code");
