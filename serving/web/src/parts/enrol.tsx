import { useState } from "preact/hooks";
import { degrees } from "../maths/vectors";
import { add, enrol, type Outcome, undo, type Wanted } from "../state/enrolling";
import * as store from "../state/store";
import { type Change, DEFAULT_SET, type State } from "../state/types";

const PROPOSED = "mine";
const MOST_COPIED = 100; // classes; each of them is a request

export function EnrolPanel({ state }: { state: State }) {
  const [label, setLabel] = useState("");
  const [typedSet, setTypedSet] = useState<string | null>(null);
  const [copy, setCopy] = useState(true);
  const [busy, setBusy] = useState(false);
  const [outcome, setOutcome] = useState<Outcome | null>(null);
  const set = typedSet ?? (state.set === DEFAULT_SET ? PROPOSED : state.set);
  const chosen = state.pictures.filter((one) => one.chosen && !one.error);
  const copies = copiable(state, set);
  const wanted: Wanted = { set, label: label.trim(), pictures: chosen, copyFrom: copies && copy ? DEFAULT_SET : null };

  const run = async (work: (wanted: Wanted) => Promise<Outcome>): Promise<void> => {
    const wrong = mistake(wanted);
    if (wrong) return setOutcome({ kind: "failed", message: wrong });
    setBusy(true);
    setOutcome(null);
    const result = await work(wanted);
    setBusy(false);
    setOutcome(result);
    if (result.kind === "done") setLabel("");
  };
  const submitted = (event: Event): void => {
    event.preventDefault();
    void run(enrol);
  };
  return (
    <section class="panel" aria-labelledby="enrol-title">
      <h2 id="enrol-title">Enrol a class</h2>
      <form onSubmit={submitted} autocomplete="off">
        <div class="fields">
          <label>
            Name of the class
            <input
              name="label"
              value={label}
              maxLength={128}
              onInput={(event) => setLabel(event.currentTarget.value)}
            />
          </label>
          <label>
            In the set
            <input
              name="set"
              value={set}
              maxLength={64}
              spellcheck={false}
              autocapitalize="none"
              onInput={(event) => setTypedSet(event.currentTarget.value)}
            />
          </label>
        </div>
        <Examples state={state} />
        {copies && (
          <label class="check">
            <input type="checkbox" checked={copy} onChange={(event) => setCopy(event.currentTarget.checked)} />
            {`Begin the set with the model's ${state.model?.label_count} classes, to compete with the new one`}
          </label>
        )}
        <button class="primary" disabled={busy}>
          {busy ? "Enrolling…" : chosen.length ? `Enrol from ${counted(chosen.length)}` : "Enrol"}
        </button>
        <div role="alert">
          {outcome?.kind === "failed" && <p class="error">{outcome.message}</p>}
          {outcome?.kind === "exists" && (
            <p class="error">
              {`There is a class ${wanted.label} in ${set}. `}
              <button type="button" onClick={() => void run(add)}>
                Add the images to it
              </button>
            </p>
          )}
        </div>
      </form>
      <Changes changes={state.changes} />
    </section>
  );
}

function Examples({ state }: { state: State }) {
  const usable = state.pictures.filter((one) => !one.error);
  const choose = (id: number, chosen: boolean): void => store.setPicture(id, { chosen });
  return (
    <fieldset class="examples">
      <legend>Examples</legend>
      {usable.length === 0 && <p class="note">Drop or choose images first; those on the page can be used.</p>}
      {usable.map((one) => (
        <label key={one.id} title={one.name}>
          <input
            type="checkbox"
            class="hidden"
            aria-label={one.name}
            checked={one.chosen}
            onChange={(event) => choose(one.id, event.currentTarget.checked)}
          />
          <img src={one.url} alt="" />
        </label>
      ))}
    </fieldset>
  );
}

function Changes({ changes }: { changes: Change[] }) {
  return (
    <ul class="changes" aria-label="What was enrolled">
      {changes.map((change) => (
        <li key={change.id} class={change.phase}>
          <p>
            <strong>{change.state.label}</strong>
            {` in ${change.state.set}: ${told(change)}`}
            {change.phase !== "undone" && (
              <button type="button" disabled={change.phase === "undoing"} onClick={() => void undo(change)}>
                {change.phase === "undoing" ? "Undoing…" : `Undo`}
                <span class="hidden">{` ${change.state.label}`}</span>
              </button>
            )}
          </p>
          {change.phase !== "undone" && change.state.warning && <p class="warning">{change.state.warning}</p>}
          {change.error && <p class="error">{change.error}</p>}
        </li>
      ))}
    </ul>
  );
}

function told({ state, added, kind, phase }: Change): string {
  if (phase === "undone") return "undone.";
  const images = kind === "class" ? `from ${counted(state.n)}` : `${counted(added.length)} more, ${state.n} in all`;
  const spread = `spread ${degrees(state.spread).toFixed(0)}°`;
  const next = state.nearest
    ? `nearest class ${state.nearest.label} at ${degrees(state.nearest.cosine).toFixed(0)}°`
    : "the only class";
  return `${images}; ${spread}, ${next}. `;
}

function counted(n: number): string {
  return n === 1 ? "1 image" : `${n} images`;
}

/** Whether the model's classes can go into a set: one that is yet to be made, and not too many requests. */
function copiable({ model, sets, prototypes }: State, set: string): boolean {
  if (!model || model.label_count > MOST_COPIED || sets.some((one) => one.name === set)) return false;
  return prototypes?.set !== DEFAULT_SET || new Set(prototypes.labels).size === prototypes.labels.length;
}

/** What the form lacks; the rest is the service's to say. */
function mistake({ set, label, pictures }: Wanted): string | null {
  if (!label) return "Give the class a name.";
  if (!set) return "Give the set a name.";
  if (label === "." || label === "..") return "A browser cannot send this name.";
  if (!pictures.length) return "Choose one image or more.";
  return null;
}
