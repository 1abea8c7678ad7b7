/** Embeddings as CSV (RFC 4180). */

export interface Row {
  image: string;
  set: string;
  nearest: string;
  cosine: number;
  angle: number;
  embedding: ArrayLike<number>;
}

export function csv(rows: readonly Row[]): string {
  const dim = rows[0]?.embedding.length ?? 0;
  const header = ["image", "set", "nearest", "cosine", "angle_deg", ...Array.from({ length: dim }, (_, i) => `e${i}`)];
  const lines = rows.map((row) => [
    quoted(row.image),
    quoted(row.set),
    quoted(row.nearest),
    row.cosine,
    row.angle,
    ...Array.from(row.embedding),
  ]);
  return [header, ...lines].map((cells) => `${cells.join(",")}\r\n`).join("");
}

function quoted(text: string): string {
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}
