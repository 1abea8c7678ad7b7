import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import { described, filledView, spot, viewOf } from "../maths/layout";
import type { View } from "../maths/principal";
import { facing, type Matrix, START, turned } from "../maths/rotation";
import { degrees } from "../maths/vectors";
import type { Picture, Prototypes, State } from "../state/types";
import { isRejected } from "./card";
import { type Mark, Sphere, screen } from "./sphere";

const HOW = "Drag or use the arrow keys to turn it, Page Down and Page Up to go from point to point.";
const STEP = Math.PI / 18; // of an arrow key
const REACH = 16; // pixels from the pointer to the mark that it means

export function SphereMap({ state }: { state: State }) {
  const { prototypes } = state;
  return (
    <section class="panel map" aria-labelledby="map-title">
      <h2 id="map-title">The sphere</h2>
      {prototypes ? <Turning prototypes={prototypes} state={state} /> : <p class="muted">Nothing to show yet.</p>}
    </section>
  );
}

function Turning({ prototypes, state }: { prototypes: Prototypes; state: State }) {
  const { marks, view } = useMarks(prototypes, state);
  const [orientation, turn] = useState<Matrix>(START);
  const [shown, show] = useState<string | null>(null);
  const [frame, size] = useWidth();
  const mark = marks.find((one) => one.key === shown) ?? null;
  const drag = useDrag(
    (dx, dy) => turn((now) => turned(now, (2.4 * dx) / size, (2.4 * dy) / size)),
    (x, y) => show(closest(marks, orientation, size, x, y)),
  );
  const keys = (event: KeyboardEvent): void => {
    const way = ARROWS[event.key];
    if (way) turn((now) => turned(now, way[0] * STEP, way[1] * STEP));
    else if (event.key === "PageDown" || event.key === "PageUp") step(event.key === "PageDown" ? 1 : -1);
    else if (event.key === "Home") turn(START);
    else if (event.key === "Escape") show(null);
    else return;
    event.preventDefault();
  };
  const step = (by: number): void => {
    const at = marks.findIndex((one) => one.key === shown);
    const next = marks[(at + by + marks.length + (at < 0 && by < 0 ? 1 : 0)) % marks.length];
    if (!next) return;
    show(next.key);
    turn((now) => facing(now, next.at));
  };
  return (
    <>
      <div
        class="frame"
        ref={frame}
        tabIndex={0}
        role="application"
        aria-roledescription="map"
        aria-label={`Map of ${prototypes.labels.length} prototypes and ${marks.length - prototypes.labels.length} images`}
        aria-describedby="map-keys"
        onKeyDown={keys}
        {...drag}
      >
        <Sphere marks={marks} orientation={orientation} size={size} shown={shown} />
      </div>
      <p class="told" aria-live="polite">
        {mark ? mark.told : <span class="note">{HOW}</span>}
      </p>
      <p class="note">{described(view, prototypes.labels.length)}</p>
      <p class="hidden" id="map-keys">
        {HOW}
      </p>
    </>
  );
}

const ARROWS: Record<string, [number, number]> = {
  ArrowLeft: [-1, 0],
  ArrowRight: [1, 0],
  ArrowUp: [0, 1],
  ArrowDown: [0, -1],
};

/** Prototypes and images as marks; the costly view of the prototypes is kept for as long as they stay. */
function useMarks(prototypes: Prototypes, state: State) {
  const { rows } = prototypes;
  const ownView = useMemo(() => viewOf(rows), [rows]);
  const pictures = state.pictures.filter((one) => one.embedding);
  const embeddings = pictures.map((one) => one.embedding as Float32Array);
  const key = pictures.map((one) => one.id).join();
  const view = useMemo(() => filledView(ownView, rows, embeddings), [ownView, key]);
  const own = enrolledHere(state);
  const fixed = useMemo(
    () => rows.map((_, index) => prototypeMark(prototypes, index, view, own)),
    [prototypes, view, own.join("/")],
  );
  const moving = pictures.map((picture) => pictureMark(picture, prototypes, state, view));
  const marks = [...fixed, ...moving].filter((one) => one !== null);
  return { marks, view };
}

/** The classes of the set that this page has enrolled. */
function enrolledHere({ changes, set }: State): string[] {
  return changes.filter((one) => one.phase !== "undone" && one.state.set === set).map((one) => one.state.label);
}

function prototypeMark({ rows, labels }: Prototypes, index: number, view: View, own: string[]): Mark | null {
  const row = rows[index] as Float32Array;
  const where = spot(row, view);
  const label = labels[index] as string;
  const told = `${label}, a prototype`;
  return where && { ...where, key: `prototype ${index}`, label, told, own: own.includes(label), url: null, to: null, rejected: false };
}

function pictureMark(picture: Picture, prototypes: Prototypes, state: State, view: View): Mark | null {
  const embedding = picture.embedding as Float32Array;
  const where = spot(embedding, view);
  const best = picture.nearest;
  if (!where || !best) return null;
  const label = prototypes.labels[best.index] ?? "";
  return {
    ...where,
    key: `picture ${picture.id}`,
    label: picture.name,
    told: `${picture.name}: ${degrees(best.cosine).toFixed(1)}° from ${label}`,
    own: false,
    url: picture.url,
    to: spot(prototypes.rows[best.index] ?? [], view)?.at ?? null,
    rejected: isRejected(picture, state),
  };
}

/** The mark in front that is next to a place on the drawing; null where none is near. */
function closest(marks: readonly Mark[], orientation: Matrix, size: number, x: number, y: number): string | null {
  let best: { key: string; far: number } | null = null;
  for (const mark of marks) {
    const [left, top, depth] = screen(mark.at, orientation, size);
    const far = Math.hypot(left - x, top - y) + (depth < 0 ? REACH / 2 : 0);
    if (far < REACH && (!best || far < best.far)) best = { key: mark.key, far };
  }
  return best && best.key;
}

function useWidth() {
  const frame = useRef<HTMLDivElement>(null);
  const [width, setWidth] = useState(360);
  useEffect(() => {
    const watch = new ResizeObserver(([entry]) => entry && setWidth(Math.round(entry.contentRect.width)));
    if (frame.current) watch.observe(frame.current);
    return () => watch.disconnect();
  }, []);
  return [frame, width] as const;
}

/** Handlers that tell how far the pointer was dragged, and over which place it hovers or is pressed. */
function useDrag(moved: (dx: number, dy: number) => void, over: (x: number, y: number) => void) {
  const last = useRef<[number, number] | null>(null);
  const at = (event: PointerEvent): [number, number] => {
    const box = (event.currentTarget as HTMLElement).getBoundingClientRect();
    return [event.clientX - box.left, event.clientY - box.top];
  };
  return {
    onPointerDown: (event: PointerEvent) => {
      last.current = at(event);
      (event.currentTarget as HTMLElement).setPointerCapture(event.pointerId);
      over(...at(event));
    },
    onPointerMove: (event: PointerEvent) => {
      const [x, y] = at(event);
      if (!last.current) return over(x, y);
      moved(x - last.current[0], last.current[1] - y);
      last.current = [x, y];
    },
    onPointerUp: () => void (last.current = null),
    onPointerCancel: () => void (last.current = null),
  };
}
