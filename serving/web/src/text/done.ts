/** What was just done on the page, as a value: the snippets are made of it. */

export type Done =
  | { kind: "classify"; files: string[]; set: string; threshold: Threshold | null; exemplars: number }
  | { kind: "enrol"; set: string; label: string; files: string[]; copied: boolean }
  | { kind: "add"; set: string; label: string; files: string[]; version: number }
  | { kind: "delete class"; set: string; label: string; version: number }
  | { kind: "delete set"; set: string; version: number }
  | { kind: "delete examples"; set: string; label: string; ids: number[]; version: number };

/** A least cosine, and the rate of false acceptance that it was calibrated for, if it was. */
export interface Threshold {
  cosine: number;
  fpr: number | null;
}

/** Where the service is, and whether it asked for a token. */
export interface Where {
  url: string;
  token: boolean;
}
