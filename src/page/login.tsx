/** The form for the token, which a stranger gets. */

interface LoginProps {
  /** Where to go then. */
  readonly next: string;
  /** What became of the try before; null: there was none. */
  readonly problem: string | null;
}

export function Login({ next, problem }: LoginProps) {
  return (
    <>
      <h1>Log in</h1>
      <form method="post" action="/login" class="login">
        <input type="hidden" name="next" value={next} />
        {/* For password managers, which keep one for each name. */}
        <input
          class="unseen"
          name="username"
          value="wgmon"
          autocomplete="username"
          readonly
          tabindex={-1}
          aria-hidden="true"
        />
        <label for="token">Token</label>
        <input
          id="token"
          type="password"
          name="token"
          autocomplete="current-password"
          required
          autofocus
          aria-describedby="token-help"
          aria-invalid={problem === null ? null : "true"}
        />
        {problem === null ? null : (
          <p class="warning" role="alert">
            {problem}
          </p>
        )}
        <button>Log in</button>
        <p id="token-help">A line of the file that wgmon's setting listen-token-file names.</p>
      </form>
    </>
  );
}

/** Longer ones would not fit into a form's body: see BODY_MAX_BYTES of server.ts. */
const ADDRESS_MAX = 400;

/** A path and query of ours; whatever else is given leads to the first page. */
export function ownAddress(given: string | null): string {
  const ours = "http://localhost";
  if (given === null || !given.startsWith("/") || !URL.canParse(given, ours)) return "/";
  const { origin, pathname, search } = new URL(given, ours);
  // Of two slashes a browser makes another host.
  const address = pathname + search;
  const isOwn = origin === ours && !pathname.startsWith("//");
  return isOwn && address.length <= ADDRESS_MAX ? address : "/";
}
