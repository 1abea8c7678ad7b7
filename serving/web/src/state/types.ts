/** What the service answers (/docs.json has the whole), and what the page keeps. */

import type { Done, Threshold } from "../text/done";

export interface Model {
  name: string;
  sha256: string;
  dim: number;
  label_count: number;
  thresholds: { fpr: number; cosine: number }[];
}

export interface SetInfo {
  name: string;
  usable: boolean;
  read_only: boolean;
  version: number;
  class_count: number;
}

export interface Prediction {
  label: string;
  index: number;
  cosine: number;
  probability: number;
}

export interface Exemplar {
  id: number;
  label: string;
  cosine: number;
}

export interface Result {
  certified: boolean;
  cosine: number;
  angle_deg: number;
  predictions: Prediction[];
  exemplars?: Exemplar[];
}

export interface ClassState {
  set: string;
  label: string;
  n: number;
  version: number;
  set_version: number;
  spread: number;
  nearest: { label: string; cosine: number } | null;
  warning: string | null;
  examples: number[];
}

export interface Prototypes {
  set: string;
  labels: string[];
  rows: Float32Array[];
  smallestAngle: number | null;
}

/** An image on the page. */
export interface Picture {
  id: number;
  file: File;
  name: string;
  url: string;
  embedding: Float32Array | null;
  result: Result | null;
  /** Of the prototypes that are shown: what a threshold is held against. With offsets the answer may be another. */
  nearest: { index: number; cosine: number } | null;
  error: string | null;
  /** The state's `round` in which it was sent last; it waits while that is not the state's. */
  sent: number;
  /** The round that result or error belong to. */
  answered: number;
  /** Whether it is to be an example of the class that is enrolled next. */
  chosen: boolean;
  /** It was stored lying on its side, and is not any more what the file holds. */
  turned: boolean;
}

/** A change of a set that this page has made. */
export interface Change {
  id: number;
  state: ClassState;
  added: number[];
  kind: "class" | "examples";
  /** The set was made along with it, and goes with it. */
  madeSet: boolean;
  phase: "done" | "undoing" | "undone";
  error: string | null;
}

export interface State {
  model: Model | null;
  sets: SetInfo[];
  set: string;
  prototypes: Prototypes | null;
  /** Why the set cannot be shown; null where it can. */
  problem: string | null;
  pictures: Picture[];
  /** Grows when the answers on the page are no longer those of the set. */
  round: number;
  threshold: Threshold | null;
  connection: "ok" | "lost";
  token: string;
  /** What the service says where it wants a token, or another one. */
  tokenWanted: string | null;
  changes: Change[];
  /** Pictures of this visit by set and example id. */
  thumbnails: Record<string, string>;
  done: Done | null;
  /** What a screen reader is told. */
  said: string;
}

export const DEFAULT_SET = "default";

export function thumbnailKey(set: string, id: number): string {
  return `${set}/${id}`;
}
