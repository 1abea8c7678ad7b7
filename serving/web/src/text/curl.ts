import type { Done, Where } from "./done";

/** The same by curl, for a POSIX shell. */
export function curl(done: Done, where: Where): string {
  const token = where.token ? ['-H "Authorization: Bearer $PROTOZOO_TOKEN"'] : [];
  const copied = done.kind === "enrol" && done.copied ? ["# and the model's own classes, one by one: see Python"] : [];
  const lines = requests(done).map(({ options, path }) => wrapped([...token, ...options, shell(where.url + path)]));
  return [...lines, ...copied].join("\n");
}

const WIDTH = 72;

/** One line, or one for each word. */
function wrapped(words: readonly string[]): string {
  const line = `curl ${words.join(" ")}`;
  return line.length <= WIDTH ? line : `curl ${words.join(" \\\n  ")}`;
}

interface Request {
  options: string[];
  path: string;
}

function requests(done: Done): Request[] {
  switch (done.kind) {
    case "classify":
      return [{ options: images(done.files), path: `/v1/classify${query(done)}` }];
    case "enrol":
      return [{ options: ["-X PUT", ...images(done.files)], path: classPath(done) }];
    case "add":
      return [{ options: [match(done.version), ...images(done.files)], path: `${classPath(done)}/examples` }];
    case "delete class":
      return [{ options: ["-X DELETE", match(done.version)], path: classPath(done) }];
    case "delete set":
      return [{ options: ["-X DELETE", match(done.version)], path: `/v1/sets/${encodeURIComponent(done.set)}` }];
    case "delete examples":
      // Every one of them gives the class another version: only the first can be asked for the one that was read.
      return done.ids.map((id, index) => ({
        options: ["-X DELETE", ...(index ? [] : [match(done.version)])],
        path: `${classPath(done)}/examples/${id}`,
      }));
  }
}

function classPath({ set, label }: { set: string; label: string }): string {
  return `/v1/sets/${encodeURIComponent(set)}/classes/${encodeURIComponent(label)}`;
}

function query(done: Extract<Done, { kind: "classify" }>): string {
  const parts = [`set=${encodeURIComponent(done.set)}`];
  if (done.threshold?.fpr != null) parts.push(`fpr=${done.threshold.fpr}`);
  else if (done.threshold) parts.push(`threshold=${done.threshold.cosine.toFixed(4)}`);
  if (done.exemplars) parts.push(`explain=exemplars&n=${done.exemplars}`);
  return `?${parts.join("&")}`;
}

function match(version: number): string {
  return `-H 'If-Match: "${version}"'`;
}

/** Quoted for curl, where a name holds what ends a name there, and for the shell. */
function images(files: readonly string[]): string[] {
  const named = (file: string): string =>
    /[;,"\\]/.test(file) ? `"${file.replaceAll("\\", "\\\\").replaceAll('"', '\\"')}"` : file;
  return files.map((file) => `-F ${shell(`image=@${named(file)}`)}`);
}

export function shell(text: string): string {
  return /^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`;
}
