import { useState } from "preact/hooks";
import { giveToken } from "../state/looking";
import type { State } from "../state/types";

/** What concerns the whole page: the service is away, wants a token, or cannot show the set. */
export function Banners({ state }: { state: State }) {
  return (
    <div class="banners" role="alert">
      {state.connection === "lost" && (
        <p class="banner">The service does not answer. This page goes on trying, and goes on where it stopped.</p>
      )}
      {state.tokenWanted !== null && <TokenForm message={state.tokenWanted} />}
      {state.problem !== null && state.tokenWanted === null && <p class="banner">{state.problem}</p>}
    </div>
  );
}

function TokenForm({ message }: { message: string }) {
  const [token, setToken] = useState("");
  const given = (event: Event): void => {
    event.preventDefault();
    giveToken(token.trim());
  };
  return (
    <form class="banner" onSubmit={given}>
      <p>The service wants a token: {message}.</p>
      <div class="row">
        <label>
          Token{" "}
          <input
            type="password"
            autocomplete="off"
            value={token}
            onInput={(event) => setToken(event.currentTarget.value)}
          />
        </label>
        <button class="primary">Use it</button>
        <span class="note">It stays in this page's memory.</span>
      </div>
    </form>
  );
}
