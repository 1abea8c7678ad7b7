import { show } from "../state/looking";
import * as store from "../state/store";
import { useStore } from "../state/store";
import type { SetInfo, State } from "../state/types";
import { Banners } from "./banners";
import { Cards } from "./card";
import { Drop } from "./drop";
import { EnrolPanel } from "./enrol";
import { SphereMap } from "./map";
import { Snippets } from "./snippets";
import { ThresholdPanel } from "./threshold";

export function App() {
  const state = useStore();
  return (
    <>
      <Header state={state} />
      <Banners state={state} />
      <main>
        <div class="images">
          <Drop large={!state.pictures.length} />
          {state.pictures.length > 0 && <h2 class="hidden">Images</h2>}
          <Cards state={state} />
        </div>
        <div class="side">
          <SphereMap state={state} />
          <ThresholdPanel state={state} />
          <EnrolPanel state={state} />
        </div>
        <Snippets state={state} />
      </main>
      <p class="hidden" role="status">
        {state.said}
      </p>
    </>
  );
}

function Header({ state }: { state: State }) {
  const { model } = state;
  return (
    <header>
      <div>
        <h1>{breakable(model?.name ?? "protozoo")}</h1>
        <p class="note">{model ? `${model.label_count} classes on the sphere of ${model.dim} dimensions` : " "}</p>
      </div>
      <label class="set">
        Set of prototypes
        <select value={state.set} onChange={(event) => choose(event.currentTarget.value)}>
          {options(state).map((one) => (
            <option key={one.name} value={one.name} disabled={!one.usable}>
              {named(one)}
            </option>
          ))}
        </select>
      </label>
    </header>
  );
}

/** On a narrow screen a name breaks between architecture and tag. */
function breakable(name: string) {
  const [architecture, ...tag] = name.split(".");
  return tag.length ? [`${architecture}.`, <wbr />, tag.join(".")] : name;
}

function choose(set: string): void {
  store.set({ done: null });
  void show(set);
}

function options({ sets, set }: State): SetInfo[] {
  const there = sets.some((one) => one.name === set);
  return there ? sets : [...sets, { name: set, usable: true, read_only: false, version: 0, class_count: 0 }];
}

function named(set: SetInfo): string {
  if (!set.usable) return `${set.name} (made by another model)`;
  const classes = set.class_count === 1 ? "1 class" : `${set.class_count} classes`;
  return `${set.name}${set.read_only ? ", the model's own" : ""} (${classes})`;
}
