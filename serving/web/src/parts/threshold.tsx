import { cosineOf, degrees } from "../maths/vectors";
import * as store from "../state/store";
import type { State } from "../state/types";
import { isRejected, limitOf } from "./card";

const WIDEST = 90; // here the slider ends, and there is no limit

export function ThresholdPanel({ state }: { state: State }) {
  const limit = limitOf(state);
  const moved = (event: Event): void => {
    const angle = Number((event.currentTarget as HTMLInputElement).value);
    store.set({ threshold: angle >= WIDEST ? null : { cosine: cosineOf(angle), fpr: null }, done: null });
  };
  return (
    <section class="panel" aria-labelledby="limit-title">
      <h2 id="limit-title">What is unknown</h2>
      <p class="note">An image that is further than this from every prototype is rejected.</p>
      <Strip state={state} limit={limit} />
      <input
        type="range"
        min="0"
        max={WIDEST}
        step="0.5"
        value={limit ?? WIDEST}
        aria-label="Largest angle to the nearest prototype"
        aria-valuetext={limit === null ? "no limit" : `${limit.toFixed(1)} degrees`}
        onInput={moved}
      />
      <Calibrated state={state} />
      <p class="told" role="status">
        {said(state, limit)}
      </p>
    </section>
  );
}

/** The images as dots over the slider. */
function Strip({ state, limit }: { state: State; limit: number | null }) {
  const at = (angle: number): string => `${(100 * Math.min(angle, WIDEST)) / WIDEST}%`;
  return (
    <div class="strip" aria-hidden="true">
      {state.prototypes?.set === "default" &&
        state.model?.thresholds.map((one) => <span key={one.fpr} class="tick" style={{ left: at(degrees(one.cosine)) }} />)}
      {state.pictures.map(
        (one) =>
          one.nearest && (
            <span
              key={one.id}
              class={`dot${isRejected(one, state) ? " rejected" : ""}`}
              style={{ left: at(degrees(one.nearest.cosine)) }}
            />
          ),
      )}
      {limit !== null && <span class="limit" style={{ left: at(limit) }} />}
    </div>
  );
}

/** The limits that the bundle was calibrated for; they hold for the model's own prototypes alone. */
function Calibrated({ state }: { state: State }) {
  const thresholds = state.model?.thresholds ?? [];
  if (!thresholds.length || state.set !== "default") return null;
  return (
    <div class="row calibrated" role="group" aria-label="Calibrated limits">
      <span class="muted">Foreign images let through</span>
      {thresholds.map((one) => (
        <button
          type="button"
          key={one.fpr}
          aria-pressed={state.threshold?.fpr === one.fpr}
          onClick={() => store.set({ threshold: { cosine: one.cosine, fpr: one.fpr }, done: null })}
        >
          {`${+(100 * one.fpr).toFixed(2)} %`}
        </button>
      ))}
      <button
        type="button"
        aria-pressed={state.threshold === null}
        onClick={() => store.set({ threshold: null, done: null })}
      >
        all
      </button>
    </div>
  );
}

function said(state: State, limit: number | null): string {
  if (limit === null || !state.threshold) return "No limit: every image is known.";
  const seen = state.pictures.filter((one) => one.nearest);
  const rejected = seen.filter((one) => isRejected(one, state)).length;
  const where = `${limit.toFixed(1)}°, a cosine of ${state.threshold.cosine.toFixed(3)}`;
  return seen.length ? `${where}: ${rejected} of ${seen.length} rejected.` : `${where}.`;
}
