/** A systemd unit, imported as text. */

declare module "*.service" {
  const text: string;
  export default text;
}
