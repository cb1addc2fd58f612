/** Files that are imported as text. */

declare module "*/LICENSE" {
  const text: string;
  export default text;
}

declare module "*/NOTICE" {
  const text: string;
  export default text;
}
