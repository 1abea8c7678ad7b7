/** Turning the sphere: orientations are 3x3 matrices, points are triples; x is right, y up, z towards the reader. */

export type Point = readonly [number, number, number];
export type Matrix = readonly [Point, Point, Point];

export const START: Matrix = multiply(aboutX(0.35), aboutY(-0.5));

export function aboutX(angle: number): Matrix {
  const [sin, cos] = [Math.sin(angle), Math.cos(angle)];
  return [[1, 0, 0], [0, cos, -sin], [0, sin, cos]];
}

export function aboutY(angle: number): Matrix {
  const [sin, cos] = [Math.sin(angle), Math.cos(angle)];
  return [[cos, 0, sin], [0, 1, 0], [-sin, 0, cos]];
}

export function multiply(a: Matrix, b: Matrix): Matrix {
  const cell = (row: Point, j: 0 | 1 | 2): number => row[0] * b[0][j] + row[1] * b[1][j] + row[2] * b[2][j];
  const line = (row: Point): Point => [cell(row, 0), cell(row, 1), cell(row, 2)];
  return [line(a[0]), line(a[1]), line(a[2])];
}

export function apply(m: Matrix, p: Point): Point {
  const along = (row: Point): number => row[0] * p[0] + row[1] * p[1] + row[2] * p[2];
  return [along(m[0]), along(m[1]), along(m[2])];
}

/** An orientation turned by so much to the right and upwards, as the reader sees it (radians). */
export function turned(orientation: Matrix, right: number, up: number): Matrix {
  return orthonormal(multiply(multiply(aboutX(-up), aboutY(right)), orientation));
}

/** Turned so that a point of the unturned sphere comes to the front. */
export function facing(orientation: Matrix, point: Point): Matrix {
  const [x, y, z] = apply(orientation, point);
  const right = multiply(aboutY(-Math.atan2(x, z)), orientation);
  return orthonormal(multiply(aboutX(Math.atan2(y, Math.hypot(x, z))), right));
}

/** Thousands of small turns must not stretch the sphere. */
function orthonormal([a, b]: Matrix): Matrix {
  const x = unit(a);
  const along = x[0] * b[0] + x[1] * b[1] + x[2] * b[2];
  const y = unit([b[0] - along * x[0], b[1] - along * x[1], b[2] - along * x[2]]);
  return [x, y, [x[1] * y[2] - x[2] * y[1], x[2] * y[0] - x[0] * y[2], x[0] * y[1] - x[1] * y[0]]];
}

export function length(p: Point): number {
  return Math.hypot(p[0], p[1], p[2]);
}

/** The same direction with length one; the zero vector, which has none, stays. */
export function unit(p: Point): Point {
  const size = length(p) || 1;
  return [p[0] / size, p[1] / size, p[2] / size];
}

/** Points of the shortest way on the sphere between two unit vectors, both ends included. */
export function arc(from: Point, to: Point, steps: number): Point[] {
  const cosine = Math.min(1, Math.max(-1, from[0] * to[0] + from[1] * to[1] + from[2] * to[2]));
  const angle = Math.acos(cosine);
  const sine = Math.sin(angle);
  return Array.from({ length: steps + 1 }, (_, i) => {
    const t = i / steps;
    const [a, b] = sine < 1e-6 ? [1 - t, t] : [Math.sin((1 - t) * angle) / sine, Math.sin(t * angle) / sine];
    return [a * from[0] + b * to[0], a * from[1] + b * to[1], a * from[2] + b * to[2]] as const;
  });
}
