/** What is done when the service is away, or wants a token. */

import { Lost, pause, ready, Refused } from "./http";
import * as store from "./store";

const FIRST_WAIT = 0.5;
const LONGEST_WAIT = 5;

let waiting: Promise<void> | null = null;
let afterwards: () => void = () => undefined;

/** What is done when the service is back after it was away. */
export function whenBack(work: () => void): void {
  afterwards = work;
}

/** Resolves when the service answers again; a banner says meanwhile that it does not. */
export function back(): Promise<void> {
  waiting ??= untilReady().finally(() => (waiting = null));
  return waiting;
}

async function untilReady(): Promise<void> {
  for (let wait = FIRST_WAIT; !(await ready()); wait = Math.min(wait * 1.5, LONGEST_WAIT)) {
    store.set({ connection: "lost" });
    await pause(wait);
  }
  if (store.get().connection === "ok") return;
  store.set({ connection: "ok", said: "The service answers again." });
  afterwards();
}

const BREAKS = 3; // of one request while the service answers others

/** Do it, and again when the service is back where it went away meanwhile. */
export async function persistent<T>(work: () => Promise<T>): Promise<T> {
  for (let attempt = 1; ; attempt++) {
    try {
      return await work();
    } catch (error) {
      if (!isAway(error)) throw noticed(error);
      await back();
      if (attempt === BREAKS) throw new Error("the connection broke each time that this was sent; it may be too large");
      await pause(0.2);
    }
  }
}

function isAway(error: unknown): boolean {
  return error instanceof Lost || (error instanceof Refused && error.code === "not_ready");
}

/** An error about tokens brings up the field for one. */
function noticed(error: unknown): unknown {
  if (error instanceof Refused && (error.status === 401 || error.status === 403)) {
    store.set({ tokenWanted: error.message });
  }
  return error;
}

export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
