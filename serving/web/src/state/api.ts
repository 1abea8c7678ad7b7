/** The verbs of the service that the page uses. */

import { fromBase64, smallestAngle } from "../maths/vectors";
import { ask, type Request } from "./http";
import * as store from "./store";
import { type ClassState, DEFAULT_SET, type Model, type Prototypes, type Result, type SetInfo } from "./types";

const SHOWN = 5;
export const EXEMPLARS = 3;
const MOST_PRODUCTS = 5e7; // of numbers, to compare all pairs of prototypes: a tenth of a second or so

export async function model(): Promise<Model> {
  return (await request("v1/model")) as Model;
}

export async function sets(): Promise<SetInfo[]> {
  return ((await request("v1/sets")) as { sets: SetInfo[] }).sets;
}

export async function prototypes(set: string): Promise<Prototypes> {
  const found = (await request(`${setPath(set)}/prototypes?format=json`)) as {
    set: string;
    labels: string[];
    prototypes: number[][];
  };
  const rows = found.prototypes.map((row) => Float32Array.from(row));
  const products = (rows.length * rows.length * (rows[0]?.length ?? 0)) / 2;
  const smallest = products <= MOST_PRODUCTS ? smallestAngle(rows) : null;
  return { set: found.set, labels: found.labels, rows, smallestAngle: smallest };
}

export async function embed(file: Blob): Promise<Float32Array> {
  const { embeddings } = (await request("v1/embed?format=base64", imageForm([file]))) as { embeddings: [string] };
  return fromBase64(embeddings[0]);
}

export async function classify(file: Blob, set: string): Promise<Result> {
  const explained = set === DEFAULT_SET ? "" : `&explain=exemplars&n=${EXEMPLARS}`;
  const path = `v1/classify?set=${encodeURIComponent(set)}${explained}`;
  const { results } = (await request(path, imageForm([file]))) as { results: [Result] };
  const [result] = results;
  return { ...result, predictions: result.predictions.slice(0, SHOWN) };
}

export async function getClass(set: string, label: string): Promise<ClassState> {
  return (await request(classPath(set, label))) as ClassState;
}

/** A key for one enrolment: sent again with the same, it enrols nothing twice. */
export function newKey(): string {
  // Not crypto.randomUUID, which is for secure origins only: http://host is none.
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

export async function enrol(set: string, label: string, examples: Blob[] | Float32Array, key: string): Promise<ClassState> {
  const body = examples instanceof Float32Array ? embeddingBody(examples) : imageForm(examples);
  return (await request(classPath(set, label), { ...keyed(body, key), method: "PUT" })) as ClassState;
}

export async function addExamples(
  set: string,
  label: string,
  files: Blob[],
  version: number,
  key: string,
): Promise<ClassState> {
  const sent = keyed(imageForm(files), key);
  const headers = { ...sent.headers, ...match(version) };
  return (await request(`${classPath(set, label)}/examples`, { ...sent, headers })) as ClassState;
}

export async function deleteExample(set: string, label: string, id: number, version: number): Promise<ClassState> {
  const path = `${classPath(set, label)}/examples/${id}`;
  return (await request(path, { method: "DELETE", headers: match(version) })) as ClassState;
}

export async function deleteClass(set: string, label: string, version: number): Promise<void> {
  await request(classPath(set, label), { method: "DELETE", headers: match(version) });
}

export async function deleteSet(set: string, version: number): Promise<void> {
  await request(setPath(set), { method: "DELETE", headers: match(version) });
}

function request(path: string, sent: Request = {}): Promise<unknown> {
  return ask(path, sent, store.get().token);
}

function imageForm(files: readonly Blob[]): Request {
  const body = new FormData();
  for (const file of files) body.append("image", file);
  return { method: "POST", body };
}

function embeddingBody(embedding: Float32Array): Request {
  const body = JSON.stringify({ embeddings: [Array.from(embedding)] });
  return { body, headers: { "Content-Type": "application/json" } };
}

function keyed(sent: Request, key: string): Request {
  return { ...sent, headers: { ...sent.headers, "Idempotency-Key": key } };
}

function match(version: number): Record<string, string> {
  return { "If-Match": `"${version}"` };
}

function setPath(set: string): string {
  return `v1/sets/${encodeURIComponent(set)}`;
}

function classPath(set: string, label: string): string {
  return `${setPath(set)}/classes/${encodeURIComponent(label)}`;
}
