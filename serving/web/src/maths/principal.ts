/**
 * The three directions through the sphere's centre that hold most of the prototypes: PCA without taking the mean away,
 * because what is drawn is the sphere and its centre is the origin.
 */

import { dot, norm, type Vector } from "./vectors";

export interface View {
  /** One to three orthonormal directions. */
  axes: Float64Array[];
  /** How much of the prototypes' mean squared length lies in those that come from the prototypes, from 0 to 1. */
  share: number;
  /** How many of the axes come from the prototypes; the others are filled up from the images. */
  spanned: number;
}

const DIMENSIONS = 3;
const EXTRA = 3; // more columns than are asked for let the iteration converge where eigenvalues are close
const ROUNDS = 12;
const NEGLIGIBLE = 1e-6; // of the mean squared length

/** The view of a set: from its prototypes, and from the images' remainders where those span less than three directions. */
export function principalView(prototypes: readonly Vector[], images: readonly Vector[]): View {
  const { axes, share } = leading(prototypes, DIMENSIONS);
  const spanned = axes.length;
  if (spanned < DIMENSIONS && images.length > 0) {
    const rests = images.map((image) => remainder(Float64Array.from(image), axes));
    axes.push(...leading(rests, DIMENSIONS - spanned).axes);
  }
  return { axes, share, spanned };
}

/** Where a vector is in a view; its length there is at most its own. */
export function project(vector: Vector, axes: readonly Vector[]): [number, number, number] {
  const at = (i: number): number => (axes[i] ? dot(axes[i] as Vector, vector) : 0);
  return [at(0), at(1), at(2)];
}

function leading(rows: readonly Vector[], count: number): { axes: Float64Array[]; share: number } {
  const first = rows[0];
  if (!first) return { axes: [], share: 0 };
  const flat = flattened(rows, first.length);
  const width = Math.min(count + EXTRA, first.length);
  let basis = orthonormal(startingColumns(width, first.length));
  for (let round = 0; round < ROUNDS; round++) basis = orthonormal(basis.map((column) => applied(flat, column)));
  const ritz = rotated(flat, basis);
  const kept = ritz.filter(({ energy }) => energy / rows.length > NEGLIGIBLE).slice(0, count);
  const whole = dot(flat, flat);
  const held = kept.reduce((sum, { energy }) => sum + energy, 0);
  return { axes: kept.map(({ axis }) => signed(axis)), share: whole > 0 ? Math.min(1, held / whole) : 0 };
}

/** One array of one type: the loops over it are several times as fast as over rows of any kind. */
function flattened(rows: readonly Vector[], dim: number): Float64Array {
  const flat = new Float64Array(rows.length * dim);
  rows.forEach((row, index) => flat.set(row, index * dim));
  return flat;
}

/** Rows' transpose times rows times a column. */
function applied(flat: Float64Array, column: Float64Array): Float64Array {
  const dim = column.length;
  const sum = new Float64Array(dim);
  for (let start = 0; start < flat.length; start += dim) {
    let weight = 0;
    for (let i = 0; i < dim; i++) weight += (flat[start + i] as number) * (column[i] as number);
    for (let i = 0; i < dim; i++) sum[i] = (sum[i] as number) + weight * (flat[start + i] as number);
  }
  return sum;
}

/** Numbers without a pattern, the same at every visit: so the map looks the same too. */
function startingColumns(count: number, length: number): Float64Array[] {
  let seed = 1;
  const next = (): number => {
    seed = (seed * 48271) % 2147483647;
    return seed / 2147483647 - 0.5;
  };
  return Array.from({ length: count }, () => Float64Array.from({ length }, next));
}

/** Gram-Schmidt, twice for the sake of rounding; columns that add no direction are left out. */
function orthonormal(columns: readonly Float64Array[]): Float64Array[] {
  const basis: Float64Array[] = [];
  for (const column of columns) {
    const before = norm(column);
    const rest = remainder(remainder(column, basis), basis);
    const length = norm(rest);
    if (length > 1e-10 * before && length > 1e-12) basis.push(rest.map((value) => value / length));
  }
  return basis;
}

function remainder(column: Float64Array, basis: readonly Float64Array[]): Float64Array {
  const rest = Float64Array.from(column);
  for (const axis of basis) {
    const along = dot(axis, rest);
    for (let i = 0; i < rest.length; i++) rest[i] = (rest[i] as number) - along * (axis[i] as number);
  }
  return rest;
}

/** The basis turned so that its columns are principal directions (Rayleigh-Ritz), the largest first. */
function rotated(flat: Float64Array, basis: readonly Float64Array[]): { axis: Float64Array; energy: number }[] {
  const images = basis.map((column) => applied(flat, column));
  const { values, vectors } = jacobi(basis.map((a) => images.map((b) => dot(a, b))));
  return values
    .map((energy, k) => {
      const axis = new Float64Array(basis[0]?.length ?? 0);
      basis.forEach((column, j) => {
        const weight = (vectors[j] as number[])[k] as number;
        for (let i = 0; i < axis.length; i++) axis[i] = (axis[i] as number) + weight * (column[i] as number);
      });
      return { axis, energy };
    })
    .sort((a, b) => b.energy - a.energy);
}

/** Eigenvalues and eigenvectors (as columns) of a small symmetric matrix, by Jacobi's rotations. */
export function jacobi(matrix: readonly (readonly number[])[]): { values: number[]; vectors: number[][] } {
  const n = matrix.length;
  const a = matrix.map((row) => [...row]);
  const v = a.map((_, i) => a.map((_, j) => (i === j ? 1 : 0)));
  const at = (m: number[][], i: number, j: number): number => (m[i] as number[])[j] as number;
  const turn = (m: number[][], i: number, j: number, k: number, l: number, sin: number, cos: number): void => {
    const [x, y] = [at(m, i, j), at(m, k, l)];
    (m[i] as number[])[j] = cos * x - sin * y;
    (m[k] as number[])[l] = sin * x + cos * y;
  };
  for (let sweep = 0; sweep < 30; sweep++) {
    for (let p = 0; p < n; p++) {
      for (let q = p + 1; q < n; q++) {
        if (Math.abs(at(a, p, q)) < 1e-14) continue;
        const angle = 0.5 * Math.atan2(2 * at(a, p, q), at(a, q, q) - at(a, p, p));
        const [sin, cos] = [Math.sin(angle), Math.cos(angle)];
        for (let k = 0; k < n; k++) turn(a, k, p, k, q, sin, cos);
        for (let k = 0; k < n; k++) turn(a, p, k, q, k, sin, cos);
        for (let k = 0; k < n; k++) turn(v, k, p, k, q, sin, cos);
      }
    }
  }
  return { values: a.map((row, i) => row[i] as number), vectors: v };
}

/** An axis and its opposite are equally principal: the largest entry is made positive. */
function signed(axis: Float64Array): Float64Array {
  const largest = axis.reduce((best, value) => (Math.abs(value) > Math.abs(best) ? value : best), 0);
  return largest < 0 ? axis.map((value) => -value) : axis;
}
