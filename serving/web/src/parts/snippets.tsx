import { useState } from "preact/hooks";
import { address } from "../state/http";
import { EXEMPLARS } from "../state/api";
import { DEFAULT_SET, type State } from "../state/types";
import { csv, type Row } from "../text/csv";
import { curl } from "../text/curl";
import type { Done } from "../text/done";
import { python } from "../text/python";

export function Snippets({ state }: { state: State }) {
  const done = state.done ?? classified(state);
  const where = { url: address(".").href.replace(/\/$/, ""), token: state.token !== "" };
  return (
    <section class="snippets" aria-labelledby="snippets-title">
      <div class="title">
        <h2 id="snippets-title">The same without this page</h2>
        <Download state={state} />
      </div>
      {done ? (
        <div class="both">
          <Snippet name="curl" text={curl(done, where)} />
          <Snippet name="Python" text={python(done, where)} />
        </div>
      ) : (
        <p class="note">What you do here is shown as a command and as Python, to copy.</p>
      )}
      <p class="note">
        All requests are described in <a href="docs.json">docs.json</a>.
      </p>
    </section>
  );
}

function classified({ pictures, set, threshold }: State): Done | null {
  const files = pictures.filter((one) => !one.error).map((one) => one.name);
  if (!files.length) return null;
  return { kind: "classify", files, set, threshold, exemplars: set === DEFAULT_SET ? 0 : EXEMPLARS };
}

function Snippet({ name, text }: { name: string; text: string }) {
  const [copied, setCopied] = useState<string | null>(null);
  const copy = async (): Promise<void> => {
    try {
      await navigator.clipboard.writeText(text);
      setCopied("Copied");
    } catch {
      setCopied("Select it and copy"); // browsers give the clipboard to secure origins only
    }
    setTimeout(() => setCopied(null), 2000);
  };
  return (
    <figure>
      <figcaption>
        {name}
        <button type="button" aria-live="polite" onClick={() => void copy()}>
          {copied ?? "Copy"}
          <span class="hidden">{copied ? "" : ` ${name}`}</span>
        </button>
      </figcaption>
      <pre>
        <code>{text}</code>
      </pre>
    </figure>
  );
}

function Download({ state }: { state: State }) {
  const rows = rowsOf(state);
  const save = (): void => {
    const url = URL.createObjectURL(new Blob([csv(rows)], { type: "text/csv" }));
    const link = Object.assign(document.createElement("a"), { href: url, download: "embeddings.csv" });
    link.click();
    setTimeout(() => URL.revokeObjectURL(url), 1000);
  };
  return (
    <button type="button" disabled={!rows.length} onClick={save}>
      Embeddings as CSV
    </button>
  );
}

function rowsOf({ pictures, set }: State): Row[] {
  return pictures.flatMap((one) => {
    const best = one.result?.predictions[0];
    if (!one.embedding || !one.result || !best) return [];
    const { cosine, angle_deg: angle } = one.result;
    return [{ image: one.name, set, nearest: best.label, cosine, angle, embedding: one.embedding }];
  });
}
