/** Vectors of any length, and the angles between them. */

export type Vector = ArrayLike<number>;

export function dot(a: Vector, b: Vector): number {
  let sum = 0;
  for (let i = 0; i < a.length; i++) sum += (a[i] as number) * (b[i] as number);
  return sum;
}

export function norm(a: Vector): number {
  return Math.sqrt(dot(a, a));
}

/** The angle whose cosine this is, in degrees; rounding may have left the cosine a little outside of [-1, 1]. */
export function degrees(cosine: number): number {
  return (Math.acos(Math.min(1, Math.max(-1, cosine))) * 180) / Math.PI;
}

export function cosineOf(angle: number): number {
  return Math.cos((angle * Math.PI) / 180);
}

export interface Nearest {
  index: number;
  cosine: number;
}

/** The row with the largest cosine to a unit vector; null where there are no rows. */
export function nearest(rows: readonly Vector[], unit: Vector, except = -1): Nearest | null {
  let best: Nearest | null = null;
  rows.forEach((row, index) => {
    if (index === except) return;
    const cosine = dot(row, unit);
    if (!best || cosine > best.cosine) best = { index, cosine };
  });
  return best;
}

/** The smallest angle between any two unit rows, in degrees; null where there are fewer than two. */
export function smallestAngle(rows: readonly Vector[]): number | null {
  let largest = -Infinity;
  for (let i = 0; i < rows.length; i++) {
    for (let j = 0; j < i; j++) largest = Math.max(largest, dot(rows[i] as Vector, rows[j] as Vector));
  }
  return rows.length < 2 ? null : degrees(largest);
}

/** Little-endian float32 in base64, as /v1/embed sends it. */
export function fromBase64(text: string): Float32Array {
  const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  const view = new DataView(bytes.buffer);
  return Float32Array.from({ length: bytes.length / 4 }, (_, i) => view.getFloat32(4 * i, true));
}
