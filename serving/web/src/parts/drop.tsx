import { useEffect, useState } from "preact/hooks";
import { addFiles } from "../state/looking";

const TAKEN = "image/jpeg,image/png,image/webp"; // phones turn their own formats into one of these

export function Drop({ large }: { large: boolean }) {
  const over = useDropped();
  return (
    <section class={`drop${large ? " large" : ""}${over ? " over" : ""}`} aria-label="Images">
      <p>{over ? "Let go to look at them" : "Drop images anywhere, paste them, or"}</p>
      <div class="row">
        <FileButton name="Choose images" />
        <FileButton name="Take a photo" camera />
      </div>
    </section>
  );
}

export function FileButton({ name, camera = false }: { name: string; camera?: boolean }) {
  const chosen = (event: Event): void => {
    const input = event.currentTarget as HTMLInputElement;
    void addFiles(input.files ?? []);
    input.value = ""; // so that the same file can be chosen again
  };
  const kind = camera ? ({ capture: "environment" } as const) : ({ multiple: true } as const);
  return (
    <label class={`button${camera ? " camera" : ""}`}>
      {name}
      <input type="file" class="hidden" accept={TAKEN} onChange={chosen} {...kind} />
    </label>
  );
}

/** Takes what is dropped or pasted anywhere on the page; whether something hovers over it. */
function useDropped(): boolean {
  const [over, setOver] = useState(false);
  useEffect(() => {
    const hovers = (event: DragEvent): void => {
      if (!event.dataTransfer?.types.includes("Files")) return;
      event.preventDefault();
      setOver(true);
    };
    const leaves = (event: DragEvent): void => {
      if (!event.relatedTarget) setOver(false);
    };
    const drops = (event: DragEvent): void => {
      event.preventDefault();
      setOver(false);
      void addFiles(event.dataTransfer?.files ?? []);
    };
    const pastes = (event: ClipboardEvent): void => {
      void addFiles(event.clipboardData?.files ?? []);
    };
    const heard: [string, (event: never) => void][] = [
      ["dragover", hovers],
      ["dragleave", leaves],
      ["drop", drops],
      ["paste", pastes],
    ];
    for (const [name, listener] of heard) window.addEventListener(name, listener as EventListener);
    return () => {
      for (const [name, listener] of heard) window.removeEventListener(name, listener as EventListener);
    };
  }, []);
  return over;
}
