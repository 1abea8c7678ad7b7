import { describe, expect, test } from "vitest";
import { described, filledView, spot, viewOf } from "../src/maths/layout";
import { jacobi, principalView, project } from "../src/maths/principal";
import { aboutX, aboutY, apply, arc, facing, length, multiply, type Point, START, turned, unit } from "../src/maths/rotation";
import { cosineOf, degrees, dot, fromBase64, nearest, norm, smallestAngle } from "../src/maths/vectors";

/** Numbers without a pattern, between -1 and 1. */
function noise(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state * 48271) % 2147483647;
    return (2 * state) / 2147483647 - 1;
  };
}

function randomUnits(count: number, dim: number, seed = 7): Float64Array[] {
  const next = noise(seed);
  return Array.from({ length: count }, () => {
    const row = Float64Array.from({ length: dim }, next);
    return row.map((value) => value / norm(row));
  });
}

/** K unit vectors in K dimensions, every two at the same angle. */
function simplex(count: number): Float64Array[] {
  return Array.from({ length: count }, (_, i) => {
    const row = Float64Array.from({ length: count }, (_, j) => (i === j ? 1 : 0) - 1 / count);
    return row.map((value) => value / norm(row));
  });
}

describe("vectors", () => {
  test("angles are those of acos, and rounding gives no NaN", () => {
    expect(degrees(0)).toBe(90);
    expect(degrees(1.0000001)).toBe(0);
    expect(degrees(-1.0000001)).toBe(180);
    expect(degrees(cosineOf(33))).toBeCloseTo(33);
  });
  test("the smallest angle of a simplex is arccos(-1 / (K - 1)); one prototype has none", () => {
    expect(smallestAngle(simplex(10))).toBeCloseTo(degrees(-1 / 9));
    expect(smallestAngle(simplex(10).slice(0, 1))).toBeNull();
  });
  test("the nearest row, without the one that is left out", () => {
    const rows = [[1, 0], [0.6, 0.8], [0, 1]];
    expect(nearest(rows, [1, 0])).toEqual({ index: 0, cosine: 1 });
    expect(nearest(rows, [1, 0], 0)).toEqual({ index: 1, cosine: 0.6 });
    expect(nearest([], [1, 0])).toBeNull();
  });
  test("base64 is little-endian float32", () => {
    expect([...fromBase64("AACAPwAAAMA=")]).toEqual([1, -2]);
  });
});

describe("the principal view", () => {
  test("Jacobi's eigenvectors rebuild the matrix", () => {
    const next = noise(3);
    const half = Array.from({ length: 6 }, () => Array.from({ length: 6 }, next));
    const matrix = half.map((row) => half.map((other) => dot(row, other)));
    const { values, vectors } = jacobi(matrix);
    const rebuilt = matrix.map((_, i) => matrix.map((_, j) => values.reduce((sum, value, k) => sum + value * vectors[i]![k]! * vectors[j]![k]!, 0)));
    rebuilt.forEach((row, i) => row.forEach((value, j) => expect(value).toBeCloseTo(matrix[i]![j]!, 10)));
  });
  test("rows with three large directions are seen along them, with the share that they hold", () => {
    const next = noise(5);
    const rows = Array.from({ length: 200 }, () => Float64Array.from({ length: 20 }, (_, j) => next() * (j < 3 ? 3 - j : 0.01)));
    const { axes, share } = principalView(rows, []);
    axes.forEach((axis, k) => expect(Math.abs(axis[k]!)).toBeGreaterThan(0.99));
    const whole = rows.reduce((sum, row) => sum + dot(row, row), 0);
    const seen = rows.reduce((sum, row) => sum + length(project(row, axes)) ** 2, 0);
    expect(share).toBeCloseTo(seen / whole, 6);
    expect(share).toBeGreaterThan(0.99);
  });
  test("of a simplex of ten, all directions being equal, a third: three of nine", () => {
    expect(viewOf(simplex(10)).share).toBeCloseTo(3 / 9, 5);
  });
  test("axes are orthonormal and the same each time, with a thousand prototypes too", () => {
    const rows = randomUnits(1000, 128);
    const { axes } = viewOf(rows);
    axes.forEach((a, i) => axes.forEach((b, j) => expect(dot(a, b)).toBeCloseTo(i === j ? 1 : 0, 8)));
    expect(viewOf(rows).axes).toEqual(axes);
  });
  test("four prototypes of a simplex keep their angles", () => {
    const rows = simplex(4);
    const view = viewOf(rows);
    const [a, b] = [spot(rows[0]!, view)!, spot(rows[1]!, view)!];
    expect(a.held).toBeCloseTo(1);
    expect(dot(a.at, b.at)).toBeCloseTo(-1 / 3);
    expect(described(view, 4)).toContain("all");
  });
  test("two opposite prototypes are a line, and images fill what is left", () => {
    const rows = [Float64Array.of(1, 0, 0, 0), Float64Array.of(-1, 0, 0, 0)];
    const view = viewOf(rows);
    expect(view.spanned).toBe(1);
    expect(described(view, 2)).toContain("a line");
    const image = Float64Array.of(0.6, 0, 0.8, 0);
    expect(spot(image, filledView(view, rows, [image]))!.held).toBeCloseTo(1);
    expect(spot(Float64Array.of(0, 1, 0, 0), view)).toBeNull();
  });
  test("one prototype alone, or none, is no failure", () => {
    expect(viewOf([Float64Array.of(0, 1)]).spanned).toBe(1);
    expect(viewOf([])).toEqual({ axes: [], share: 0, spanned: 0 });
  });
});

describe("turning", () => {
  const point: Point = unit([0.3, -0.5, 0.8]);
  test("a right turn moves the front to the right, an upward one up", () => {
    const still = multiply(aboutX(0), aboutY(0));
    expect(apply(turned(still, 0.1, 0), [0, 0, 1])[0]).toBeGreaterThan(0.09);
    expect(apply(turned(still, 0, 0.1), [0, 0, 1])[1]).toBeGreaterThan(0.09);
  });
  test("facing brings a point to the front", () => {
    const [x, y, z] = apply(facing(START, point), point);
    expect([x, y]).toEqual([expect.closeTo(0), expect.closeTo(0)]);
    expect(z).toBeCloseTo(1);
  });
  test("a thousand turns do not stretch it", () => {
    let orientation = START;
    for (let i = 0; i < 1000; i++) orientation = turned(orientation, 0.1, 0.07);
    expect(length(apply(orientation, point))).toBeCloseTo(1, 9);
  });
  test("an arc stays on the sphere and ends where it should, at one point and across too", () => {
    const other = unit([-1, 0.2, 0.1]);
    const points = arc(point, other, 10);
    points.forEach((one) => expect(length(one)).toBeCloseTo(1));
    expect(dot(points[10]!, other)).toBeCloseTo(1);
    expect(arc(point, point, 2)[1]!.map((value, i) => value - point[i]!)).toEqual([0, 0, 0].map((zero) => expect.closeTo(zero)));
  });
});
