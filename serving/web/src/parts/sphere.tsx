import { useMemo } from "preact/hooks";
import { apply, arc, type Matrix, type Point } from "../maths/rotation";
import type { Spot } from "../maths/layout";

/** What is drawn on the sphere. */
export interface Mark extends Spot {
  key: string;
  label: string;
  /** What is said of it where it is pointed at. */
  told: string;
  /** A prototype that was enrolled on this page. */
  own: boolean;
  /** A picture's; a prototype has none. */
  url: string | null;
  /** Its nearest prototype. */
  to: Point | null;
  rejected: boolean;
}

const MARGIN = 30;
const FEW = 24; // prototypes that are all labelled
const MANY = 300; // marks; of more the prototypes are drawn together, as that is quicker to turn
const MOST_PHOTOS = 40;

function radiusOf(size: number): number {
  return Math.max(0, size / 2 - MARGIN);
}

/** Where a point of the unturned sphere is drawn, in pixels, and how far to the front. */
export function screen(at: Point, orientation: Matrix, size: number): Point {
  const [x, y, z] = apply(orientation, at);
  const radius = radiusOf(size);
  return [size / 2 + radius * x, size / 2 - radius * y, z];
}

export function Sphere(props: { marks: readonly Mark[]; orientation: Matrix; size: number; shown: string | null }) {
  const { marks, orientation, size, shown } = props;
  const all = marks.map((mark) => ({ mark, at: screen(mark.at, orientation, size) }));
  const inCrowd = ({ mark }: Placed): boolean => marks.length > MANY && !mark.url && !mark.own && mark.key !== shown;
  const placed = all.filter((one) => !inCrowd(one)).sort((a, b) => a.at[2] - b.at[2]);
  const labelled = marks.filter((one) => !one.url).length <= FEW;
  const photos = marks.filter((one) => one.url).length <= MOST_PHOTOS;
  return (
    <svg width={size} height={size} viewBox={`0 0 ${size} ${size}`} aria-hidden="true">
      <defs>
        <radialGradient id="ball" cx="0.4" cy="0.35" r="0.75">
          <stop offset="0" class="lit" />
          <stop offset="1" class="shaded" />
        </radialGradient>
        <clipPath id="round" clipPathUnits="objectBoundingBox">
          <circle cx="0.5" cy="0.5" r="0.5" />
        </clipPath>
      </defs>
      <circle class="ball" cx={size / 2} cy={size / 2} r={radiusOf(size)} fill="url(#ball)" />
      <Net orientation={orientation} size={size} />
      <Crowd placed={all.filter(inCrowd)} />
      {marks.map((mark) => mark.to && <Way key={mark.key} mark={mark} orientation={orientation} size={size} />)}
      {placed.map(({ mark, at }) =>
        mark.url ? (
          <Photo key={mark.key} mark={mark} at={at} shown={mark.key === shown} small={!photos} />
        ) : (
          <Prototype key={mark.key} mark={mark} at={at} size={size} shown={mark.key === shown} labelled={labelled} />
        ),
      )}
    </svg>
  );
}

interface Placed {
  mark: Mark;
  at: Point;
}

const LAYERS = 6;

/** Prototypes as dots of a few paths, one for each depth and faintness. */
function Crowd({ placed }: { placed: readonly Placed[] }) {
  const paths = new Map<number, string>();
  for (const { mark, at } of placed) {
    const layer = Math.round(opacity(mark.held, at[2]) * LAYERS);
    paths.set(layer, `${paths.get(layer) ?? ""}M${at[0].toFixed(1)} ${at[1].toFixed(1)}h0`);
  }
  return (
    <g class="crowd">
      {[...paths].sort(([a], [b]) => a - b).map(([layer, path]) => (
        <path key={layer} d={path} opacity={layer / LAYERS} stroke-width={3 + (3 * layer) / LAYERS} />
      ))}
    </g>
  );
}

function Prototype(props: { mark: Mark; at: Point; size: number; shown: boolean; labelled: boolean }) {
  const { mark, at, size, shown, labelled } = props;
  const left = at[0] > size * 0.6;
  return (
    <g class={`prototype${mark.own ? " own" : ""}${shown ? " shown" : ""}`} opacity={shown || mark.own ? 1 : opacity(mark.held, at[2])}>
      <circle cx={at[0]} cy={at[1]} r={shown ? 6 : 3.4 + at[2]} />
      {(labelled || shown || mark.own) && (
        <text x={at[0] + (left ? -9 : 9)} y={at[1] + 4} text-anchor={left ? "end" : "start"}>
          {shortened(mark.label)}
        </text>
      )}
    </g>
  );
}

function Photo({ mark, at, shown, small }: { mark: Mark; at: Point; shown: boolean; small: boolean }) {
  const radius = shown ? 17 : small ? 4 : 11 + at[2];
  const box = { x: at[0] - radius, y: at[1] - radius, width: 2 * radius, height: 2 * radius };
  const kind = `picture${shown ? " shown" : ""}${mark.rejected ? " rejected" : ""}`;
  return (
    <g class={kind} opacity={shown ? 1 : Math.max(0.6, opacity(mark.held, at[2]))}>
      {(!small || shown) && <image href={mark.url ?? ""} {...box} preserveAspectRatio="xMidYMid slice" clip-path="url(#round)" />}
      <circle cx={at[0]} cy={at[1]} r={radius} />
    </g>
  );
}

/** From an image to its nearest prototype, along the sphere. */
function Way({ mark, orientation, size }: { mark: Mark; orientation: Matrix; size: number }) {
  const points = arc(mark.at, mark.to as Point, 24).map((point) => screen(point, orientation, size));
  const depth = points[12]?.[2] ?? 0;
  return <path class={`way${mark.rejected ? " rejected" : ""}`} d={line(points)} opacity={depth < 0 ? 0.35 : 0.9} />;
}

/** Circles of longitude and latitude: front and back apart. */
function Net({ orientation, size }: { orientation: Matrix; size: number }) {
  const circles = useMemo(net, []);
  const parts = circles.map((points) => points.map((point) => screen(point, orientation, size)));
  return (
    <>
      <path class="net back" d={parts.map((points) => halves(points, false)).join("")} />
      <path class="net" d={parts.map((points) => halves(points, true)).join("")} />
    </>
  );
}

const CORNERS = 48;

function net(): Point[][] {
  const steps = Array.from({ length: CORNERS + 1 }, (_, i) => (2 * Math.PI * i) / CORNERS);
  const meridians = [0, 1, 2, 3, 4, 5].map((k) => {
    const turn = (Math.PI * k) / 6;
    return steps.map((t): Point => [Math.cos(t) * Math.cos(turn), Math.sin(t), Math.cos(t) * Math.sin(turn)]);
  });
  const parallels = [-60, -30, 0, 30, 60].map((degrees) => {
    const [high, wide] = [Math.sin((degrees * Math.PI) / 180), Math.cos((degrees * Math.PI) / 180)];
    return steps.map((t): Point => [wide * Math.cos(t), high, wide * Math.sin(t)]);
  });
  return [...meridians, ...parallels];
}

/** The parts of a line that lie in front, or those behind. */
function halves(points: readonly Point[], front: boolean): string {
  let path = "";
  let drawing = false;
  for (const point of points) {
    const wanted = point[2] >= 0 === front;
    if (wanted) path += `${drawing ? "L" : "M"}${point[0].toFixed(1)} ${point[1].toFixed(1)}`;
    drawing = wanted;
  }
  return path;
}

function line(points: readonly Point[]): string {
  return points.map(([x, y], i) => `${i ? "L" : "M"}${x.toFixed(1)} ${y.toFixed(1)}`).join("");
}

function opacity(held: number, depth: number): number {
  return (0.35 + 0.65 * held) * (depth < 0 ? 0.45 : 1);
}

function shortened(label: string): string {
  return label.length > 22 ? `${label.slice(0, 21)}…` : label;
}
