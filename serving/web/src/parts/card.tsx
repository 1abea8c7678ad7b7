import { degrees } from "../maths/vectors";
import { removePicture } from "../state/looking";
import { DEFAULT_SET, type Exemplar, type Picture, type Prediction, type Prototypes, type State, thumbnailKey } from "../state/types";

/** Everything on the page that is an angle is drawn from 0 to this. */
const WIDEST = 120;

export function Cards({ state }: { state: State }) {
  return (
    <ul class="cards">
      {state.pictures.map((picture) => (
        <Card key={picture.id} picture={picture} state={state} />
      ))}
    </ul>
  );
}

function Card({ picture, state }: { picture: Picture; state: State }) {
  const rejected = isRejected(picture, state);
  return (
    <li class={`card${rejected ? " rejected" : ""}`} aria-busy={picture.answered !== state.round && !state.problem}>
      <img class="photo" src={picture.url} alt="" onLoad={markTiny} />
      <div class="body">
        <div class="title">
          <h3 title={picture.name}>{picture.name}</h3>
          <button type="button" class="quiet" aria-label={`Remove ${picture.name}`} onClick={() => removePicture(picture.id)}>
            ×
          </button>
        </div>
        <Content picture={picture} state={state} />
      </div>
    </li>
  );
}

/** A picture of a few pixels is shown as such, not blurred. */
function markTiny({ currentTarget }: { currentTarget: HTMLImageElement }): void {
  currentTarget.classList.toggle("tiny", currentTarget.naturalWidth < currentTarget.width);
}

function Content({ picture, state }: { picture: Picture; state: State }) {
  if (picture.error) return <p class="error">{picture.error}</p>;
  if (!picture.result) return <p class="muted">{state.problem ? "Not classified." : "Looking…"}</p>;
  return (
    <>
      <Verdict picture={picture} state={state} />
      <Bars predictions={picture.result.predictions} limit={limitOf(state)} />
      <Exemplars exemplars={picture.result.exemplars ?? []} state={state} />
      {picture.turned && <p class="note">Turned upright, as the camera says. The service itself does not turn files.</p>}
    </>
  );
}

function Verdict({ picture, state }: { picture: Picture; state: State }) {
  const { result } = picture;
  const best = result?.predictions[0];
  if (!result || !best) return null;
  const rejected = isRejected(picture, state);
  return (
    <div class="verdict">
      <p class="answer">
        <strong>{rejected ? "unknown" : best.label}</strong> <span class="angle">{result.angle_deg.toFixed(1)}°</span>
        {rejected && <span class="muted"> to {best.label}</span>}
      </p>
      <dl class="reasons">
        <dt class={rejected ? "no" : "yes"}>{rejected ? "unknown" : "known"}</dt>
        <dd>{whyKnown(rejected, limitOf(state))}</dd>
        <dt class={result.certified ? "yes" : "no"}>{result.certified ? "certified" : "not certified"}</dt>
        <dd>{whyCertified(result.certified, state.prototypes)}</dd>
      </dl>
    </div>
  );
}

function whyKnown(rejected: boolean, limit: number | null): string {
  if (limit === null) return "as every image is while no limit is set";
  return `${rejected ? "beyond" : "within"} the limit of ${limit.toFixed(1)}°`;
}

function whyCertified(certified: boolean, prototypes: Prototypes | null): string {
  if (prototypes?.labels.length === 1) return "no other prototype competes";
  const smallest = prototypes?.smallestAngle;
  const half = `${smallest ? `${(smallest / 2).toFixed(1)}°, ` : ""}half of the smallest angle between two prototypes`;
  return certified ? `under ${half}: no other can be nearer` : `over ${half}: another could be as near`;
}

function Bars({ predictions, limit }: { predictions: Prediction[]; limit: number | null }) {
  return (
    <ol class="bars" aria-label="Nearest prototypes">
      {predictions.map((one, index) => (
        <li key={one.index} class={index === 0 ? "best" : ""}>
          <span class="label" title={one.label}>
            {one.label}
          </span>
          <span class="track" aria-hidden="true">
            <span class="bar" style={{ width: share(degrees(one.cosine)) }} />
            {limit !== null && <span class="limit" style={{ left: share(limit) }} />}
          </span>
          <span class="angle">{degrees(one.cosine).toFixed(1)}°</span>
        </li>
      ))}
    </ol>
  );
}

function share(angle: number): string {
  return `${Math.min(100, (100 * angle) / WIDEST)}%`;
}

function Exemplars({ exemplars, state }: { exemplars: Exemplar[]; state: State }) {
  if (state.set === DEFAULT_SET || !exemplars.length) return null;
  return (
    <div class="exemplars">
      <span class="muted">nearest examples</span>
      <ul>
        {exemplars.map((one) => (
          <li key={one.id}>
            <Example url={state.thumbnails[thumbnailKey(state.set, one.id)]} exemplar={one} />
            <span class="angle">{degrees(one.cosine).toFixed(1)}°</span>
          </li>
        ))}
      </ul>
    </div>
  );
}

function Example({ url, exemplar }: { url: string | undefined; exemplar: Exemplar }) {
  const name = `example ${exemplar.id} of ${exemplar.label}`;
  return url ? <img src={url} alt={name} title={name} /> : <span title={name}>#{exemplar.id}</span>;
}

/** The largest angle of a known image, in degrees; null where there is no limit. */
export function limitOf(state: State): number | null {
  return state.threshold && degrees(state.threshold.cosine);
}

export function isRejected(picture: Picture, { threshold }: State): boolean {
  return threshold !== null && picture.nearest !== null && picture.nearest.cosine < threshold.cosine;
}

