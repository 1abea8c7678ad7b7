/** The page's one state: replaced, never changed, and told to whoever draws it. */

import { useEffect, useState } from "preact/hooks";
import { DEFAULT_SET, type Picture, type State } from "./types";

let state: State = {
  model: null,
  sets: [],
  set: DEFAULT_SET,
  prototypes: null,
  problem: null,
  pictures: [],
  round: 1,
  threshold: null,
  connection: "ok",
  token: "",
  tokenWanted: null,
  changes: [],
  thumbnails: {},
  done: null,
  said: "",
};

const listeners = new Set<(state: State) => void>();

export function get(): State {
  return state;
}

export function set(change: Partial<State>): void {
  state = { ...state, ...change };
  listeners.forEach((listener) => listener(state));
}

export function setPicture(id: number, change: Partial<Picture>): void {
  set({ pictures: state.pictures.map((one) => (one.id === id ? { ...one, ...change } : one)) });
}

export function useStore(): State {
  const [seen, see] = useState(state);
  useEffect(() => {
    listeners.add(see);
    see(state);
    return () => void listeners.delete(see);
  }, []);
  return seen;
}
