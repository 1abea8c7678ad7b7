/** Changes of sets, and undoing them. */

import * as api from "./api";
import { messageOf, persistent } from "./connection";
import { Refused } from "./http";
import { refreshSets, show } from "./looking";
import * as store from "./store";
import { type Change, type ClassState, DEFAULT_SET, type Picture, thumbnailKey } from "./types";

let lastId = 0;

export type Outcome = { kind: "done" } | { kind: "exists" } | { kind: "failed"; message: string };

export interface Wanted {
  set: string;
  label: string;
  pictures: Picture[];
  /** The model's own classes are put into a set that is made, to compete with the new one. */
  copyFrom: string | null;
}

/** Make a class of pictures, and its set where there is none. */
export async function enrol({ set, label, pictures, copyFrom }: Wanted): Promise<Outcome> {
  try {
    const isNew = !(await refreshSets()).some((one) => one.name === set);
    const made = await enrolled(set, label, filesOf(pictures));
    const copies = isNew && copyFrom !== null ? await copyClasses(copyFrom, made) : NO_COPIES;
    const state = copies.count ? await persistent(() => api.getClass(set, made.label)) : made;
    await finish(state, pictures, "class", [], isNew ? 1 + copies.count : null);
    store.set({ done: { kind: "enrol", set, label, files: namesOf(pictures), copied: copies.count > 0 } });
    return copies.problem === null ? { kind: "done" } : { kind: "failed", message: copies.problem };
  } catch (error) {
    if (error instanceof Refused && error.code === "class_exists") return { kind: "exists" };
    return { kind: "failed", message: messageOf(error) };
  }
}

/** More examples for a class that is there. */
export async function add({ set, label, pictures }: Wanted): Promise<Outcome> {
  try {
    const { version, examples } = await persistent(() => api.getClass(set, label));
    const key = api.newKey();
    const state = await persistent(() => api.addExamples(set, label, filesOf(pictures), version, key));
    await finish(state, pictures, "examples", examples, null);
    store.set({ done: { kind: "add", set, label, files: namesOf(pictures), version } });
    return { kind: "done" };
  } catch (error) {
    return { kind: "failed", message: messageOf(error) };
  }
}

function enrolled(set: string, label: string, examples: Blob[] | Float32Array): Promise<ClassState> {
  const key = api.newKey();
  return persistent(() => api.enrol(set, label, examples, key));
}

interface Copies {
  count: number;
  /** What stood in the way of the others. */
  problem: string | null;
}

const NO_COPIES: Copies = { count: 0, problem: null };

/** Put the classes of one set beside a class of another. */
async function copyClasses(from: string, { set, label: except }: ClassState): Promise<Copies> {
  let count = 0;
  try {
    const { labels, rows } = await persistent(() => api.prototypes(from));
    for (const [index, label] of labels.entries()) {
      if (label === except) continue;
      await enrolled(set, label, rows[index] as Float32Array);
      count++;
    }
    return { count, problem: null };
  } catch (error) {
    const problem = `The class is enrolled, but not all of the model's classes are beside it: ${messageOf(error)}`;
    return { count, problem };
  }
}

/** Show what was changed: `before` are the examples that were there, `count` the classes of a set that is all new. */
async function finish(
  state: ClassState,
  pictures: Picture[],
  kind: Change["kind"],
  before: number[],
  count: number | null,
): Promise<void> {
  const sets = await refreshSets();
  // More classes than this page has made are somebody else's, and the set is then not to be deleted with undo.
  const madeSet = sets.some((one) => one.name === state.set && one.class_count === count);
  const added = state.examples.filter((id) => !before.includes(id));
  const change: Change = { id: ++lastId, state, added, kind, madeSet, phase: "done", error: null };
  const shown = pictures.map((one, i) => [thumbnailKey(state.set, added[i] ?? -1), one.url]);
  const used = new Set(pictures.map((one) => one.id));
  store.set({
    changes: [change, ...store.get().changes],
    thumbnails: { ...store.get().thumbnails, ...(Object.fromEntries(shown) as Record<string, string>) },
    pictures: store.get().pictures.map((one) => (used.has(one.id) ? { ...one, chosen: false } : one)),
    said: `${state.label} is enrolled in ${state.set}. ${state.warning ?? ""}`,
  });
  await show(state.set);
}

function filesOf(pictures: readonly Picture[]): File[] {
  return pictures.map((one) => one.file);
}

function namesOf(pictures: readonly Picture[]): string[] {
  return pictures.map((one) => one.name);
}

/** Take a change back, unless somebody else has written to the class since. */
export async function undo(change: Change): Promise<void> {
  mark(change, { phase: "undoing", error: null });
  try {
    if (change.kind === "examples") await undoExamples(change);
    else await undoClass(change);
  } catch (error) {
    mark(change, { phase: "done", error: messageOf(error) });
    return;
  }
  mark(change, { phase: "undone" });
  store.set({ said: `Undone: ${change.state.label} in ${change.state.set}.` });
  const there = (await refreshSets()).some((one) => one.name === store.get().set);
  await show(there ? store.get().set : DEFAULT_SET);
}

async function undoExamples({ state, added }: Change): Promise<void> {
  let { version } = state;
  for (const id of added) {
    const asked = version;
    version = (await persistent(() => api.deleteExample(state.set, state.label, id, asked))).version;
  }
  const { set, label } = state;
  store.set({ done: { kind: "delete examples", set, label, ids: added, version: state.version } });
}

async function undoClass({ state, madeSet }: Change): Promise<void> {
  const { set, label, version, set_version } = state;
  if (madeSet && (await deletedWhole(set, set_version))) {
    store.set({ done: { kind: "delete set", set, version: set_version } });
    return;
  }
  await persistent(() => api.deleteClass(set, label, version));
  store.set({ done: { kind: "delete class", set, label, version } });
}

/** Whether the set could be deleted: not where anything else was written to it since. */
async function deletedWhole(set: string, version: number): Promise<boolean> {
  try {
    await persistent(() => api.deleteSet(set, version));
    return true;
  } catch (error) {
    if (error instanceof Refused && error.code === "stale_version") return false;
    throw error;
  }
}

function mark(change: Change, what: Partial<Change>): void {
  store.set({ changes: store.get().changes.map((one) => (one.id === change.id ? { ...one, ...what } : one)) });
}
