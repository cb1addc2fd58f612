/** Access control: the client of a request, and which paths, hosts and origins are allowed. Pure. */

/** The client of a request, and what it may do. */
export interface Access {
  /** The request came over the Unix socket, which only root and the user that wgmon runs as can open. */
  readonly isUnixSocket: boolean;
  /** IP address of the client; null if it is unknown. */
  readonly address: string | null;
  /** Has a valid token or login, or needs none. */
  readonly isTrusted: boolean;
  /** Has the cookie of a valid login. A browser also sends it with requests that another site caused. */
  readonly hasCookie: boolean;
  /** The tokens that the login form accepts; empty if access needs no token. */
  readonly tokens: readonly string[];
}

/** The access of every client of the Unix socket. */
export const unixSocketAccess: Access = {
  isUnixSocket: true,
  address: null,
  isTrusted: true,
  hasCookie: false,
  tokens: [],
};

/** Whether the path is public: the login form, the theme and the assets. */
export function isPublicPath({ url }: Request): boolean {
  return /^\/(?:login$|theme$|assets\/)/.test(new URL(url).pathname);
}

/** Whether a browser requests a page. */
export function wantsHtmlPage({ method, url, headers }: Request): boolean {
  const isPage = !/^\/(?:v1\/|metrics$|healthz$|readyz$)/.test(new URL(url).pathname);
  return isPage && method === "GET" && (headers.get("accept") ?? "").includes("text/html");
}

/** Whether the Host header is an IP address or one of `ownNames`. */
export function isAllowedHost(request: Request, ownNames: readonly string[]): boolean {
  const host = hostOf(request.headers.get("host"));
  if (host === null) return false;
  const isAddress = /^\[[0-9a-f:.]+\]$|^\d+\.\d+\.\d+\.\d+$/.test(host);
  return isAddress || ownNames.some((name) => name.toLowerCase() === host);
}

/** The host of a Host header: `gw1` for `GW1:9587`; null if the header is invalid. */
function hostOf(header: string | null): string | null {
  return /^(\[[0-9a-f:.]+\]|[\w.-]+)(?::\d{1,5})?$/.exec(header?.toLowerCase() ?? "")?.[1] ?? null;
}

/**
 * Whether a page of another site may have sent the request: its Origin is another one, or it has a cookie and no
 * Origin. Browsers send Origin with every POST; other programs have no cookie.
 */
export function isCrossOrigin(request: Request, { hasCookie }: Access): boolean {
  const origin = request.headers.get("origin");
  if (origin === null) return hasCookie;
  return !URL.canParse(origin) || new URL(origin).host !== request.headers.get("host");
}

export function isRead({ method }: Request): boolean {
  return method === "GET" || method === "HEAD";
}
