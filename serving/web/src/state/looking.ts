/** Images and the set they are held against: loading, embedding, classifying. */

import { nearest } from "../maths/vectors";
import * as api from "./api";
import { messageOf, persistent } from "./connection";
import { Refused } from "./http";
import * as store from "./store";
import { DEFAULT_SET, type Picture, type SetInfo } from "./types";
import { upright } from "./upright";

const AT_A_TIME = 3;
let lastId = 0;
let running = 0;

/** Read what is served and which sets there are, then show one of them. */
export async function open(): Promise<void> {
  try {
    const [model, sets] = await persistent(() => Promise.all([api.model(), api.sets()]));
    if (store.get().model?.sha256 !== model.sha256) forgetEmbeddings();
    store.set({ model, sets, problem: null });
    document.title = `${model.name} · protozoo`;
  } catch (error) {
    store.set({ problem: messageOf(error) });
    return;
  }
  await show(store.get().set);
}

/** They are another model's. */
function forgetEmbeddings(): void {
  store.set({ pictures: store.get().pictures.map((one) => ({ ...one, embedding: null, result: null, nearest: null })) });
}

export async function refreshSets(): Promise<SetInfo[]> {
  const sets = await persistent(api.sets);
  store.set({ sets });
  return sets;
}

/** Hold all images against a set, anew. */
export async function show(set: string): Promise<void> {
  const round = store.get().round + 1;
  store.set({ set, round, problem: null });
  try {
    const prototypes = await persistent(() => api.prototypes(set));
    if (store.get().round === round) store.set({ prototypes, pictures: placed(prototypes.rows) });
  } catch (error) {
    if (store.get().round !== round) return;
    const pictures = store.get().pictures.map((one) => ({ ...one, result: null, nearest: null }));
    store.set({ prototypes: null, problem: messageOf(error), pictures });
    if (error instanceof Refused && error.code === "unknown_set") await show(DEFAULT_SET);
    return;
  }
  pump();
}

/** The pictures, each with the nearest of other prototypes. */
function placed(rows: readonly Float32Array[]): Picture[] {
  return store.get().pictures.map((one) => ({ ...one, nearest: one.embedding && nearest(rows, one.embedding) }));
}

export async function addFiles(files: Iterable<File>): Promise<void> {
  const given = [...files]; // at once: the list of an input or a drop is emptied when its event is over
  const added = (await Promise.all(given.map(upright))).map(
    (file, index): Picture => ({
      id: ++lastId,
      file,
      name: file.name || "pasted image",
      url: URL.createObjectURL(file),
      embedding: null,
      result: null,
      nearest: null,
      error: null,
      sent: 0,
      answered: 0,
      chosen: true,
      turned: file !== given[index],
    }),
  );
  if (!added.length) return;
  store.set({ pictures: [...added, ...store.get().pictures], said: counted(added.length), done: null });
  pump();
}

export function removePicture(id: number): void {
  store.set({ pictures: store.get().pictures.filter((one) => one.id !== id), done: null });
}

function counted(n: number): string {
  return n === 1 ? "One image is sent." : `${n} images are sent.`;
}

/** Images that wait are taken up, some at a time; each is embedded once and classified once a round. */
function pump(): void {
  while (running < AT_A_TIME) {
    const next = waiting();
    if (!next) return;
    running++;
    store.setPicture(next.id, { sent: store.get().round });
    void look(next).finally(() => {
      running--;
      pump();
    });
  }
}

function waiting(): Picture | undefined {
  const { pictures, round, prototypes, set } = store.get();
  if (prototypes?.set !== set) return undefined;
  return pictures.find((one) => one.sent !== round);
}

async function look(picture: Picture): Promise<void> {
  const { round, set } = store.get();
  const current = (): boolean => store.get().round === round;
  try {
    const embedding = picture.embedding ?? (await persistent(() => api.embed(picture.file)));
    store.setPicture(picture.id, { embedding, nearest: nearest(store.get().prototypes?.rows ?? [], embedding) });
    const result = await persistent(() => api.classify(picture.file, set));
    if (!current()) return;
    store.setPicture(picture.id, { result, answered: round, error: null });
    if (store.get().pictures.every((one) => one.answered === round)) tell();
  } catch (error) {
    if (!current()) return;
    store.setPicture(picture.id, { error: messageOf(error), answered: round, result: null, chosen: false });
    store.set({ said: `${picture.name}: ${messageOf(error)}` });
  }
}

/** One line for screen readers when all images have been looked at. */
function tell(): void {
  const told = store.get().pictures.filter((one) => one.result).slice(0, 3);
  const lines = told.map((one) => {
    const best = one.result?.predictions[0];
    return `${one.name}: nearest to ${best?.label}, ${one.result?.angle_deg.toFixed(1)} degrees`;
  });
  store.set({ said: lines.join(". ") });
}

export function giveToken(token: string): void {
  store.set({ token, tokenWanted: null });
  void open();
}
