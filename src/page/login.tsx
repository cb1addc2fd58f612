/** The login form, and the check of the address that it returns to. */

import { Logo } from "./layout.tsx";

interface LoginProps {
  /** The address to open after the login. */
  readonly next: string;
  /** Why the previous attempt failed; null for the first attempt. */
  readonly problem: string | null;
}

export function Login({ next, problem }: LoginProps) {
  return (
    <section class="login card" aria-labelledby="login-title">
      <Logo />
      <h1 id="login-title">Log in</h1>
      <p class="lead">This gateway is watched by wgmon. Its pages need a token.</p>
      <form method="post" action="/login">
        <input type="hidden" name="next" value={next} />
        {/* Password managers store one password per user name. */}
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
        <p id="token-help" class="hint">
          One line of the file that <code>--listen-token-file</code> names.
        </p>
        <button class="primary">Log in</button>
      </form>
    </section>
  );
}

/** A longer address would not fit in a form's body: see BODY_MAX_BYTES in server.ts. */
const ADDRESS_MAX = 400;

/** The address if it is a path and query of this server, and not too long; `/` for any other address. */
export function ownAddress(given: string | null, maxLength = ADDRESS_MAX): string {
  const ours = "http://localhost";
  if (given === null || !given.startsWith("/") || !URL.canParse(given, ours)) return "/";
  const { origin, pathname, search } = new URL(given, ours);
  // A browser reads a path with two leading slashes as another host.
  const address = pathname + search;
  const isOwn = origin === ours && !pathname.startsWith("//");
  return isOwn && address.length <= maxLength ? address : "/";
}
