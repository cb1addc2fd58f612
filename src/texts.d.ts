/** Files that are imported as text. */

declare module "*/LICENSE" {
  const text: string;
  export default text;
}

declare module "*/NOTICE" {
  const text: string;
  export default text;
}

/** A systemd unit. */
declare module "*.service" {
  const text: string;
  export default text;
}

declare module "*/client.js" {
  const text: string;
  export default text;
}

declare module "*/chart-values.js" {
  const text: string;
  export default text;
}

declare module "*.svg" {
  const text: string;
  export default text;
}

declare module "*.css" {
  const text: string;
  export default text;
}

declare module "*.bash" {
  const text: string;
  export default text;
}

declare module "*.zsh" {
  const text: string;
  export default text;
}

declare module "*.fish" {
  const text: string;
  export default text;
}
