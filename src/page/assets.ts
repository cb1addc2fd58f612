/** The files that the pages load, each under a name that contains a hash of its content. */

import chartScript from "./chart-values.js" with { type: "text" };
import script from "./client.js" with { type: "text" };
import icon from "./icon.svg" with { type: "text" };

import style from "./style.css" with { type: "text" };

export interface Asset {
  readonly path: string;
  readonly type: string;
  readonly text: string;
}

export interface Assets {
  readonly script: Asset;
  /** Reads values from charts; only pages with a chart load it. */
  readonly chartScript: Asset;
  readonly style: Asset;
  readonly icon: Asset;
  /** Hash of the files. An open page with another value was served by another build of wgmon. */
  readonly build: string;
}

export const assets: Assets = {
  script: asset("client", "js", "text/javascript", script),
  chartScript: asset("chart-values", "js", "text/javascript", chartScript),
  style: asset("style", "css", "text/css", style),
  icon: asset("icon", "svg", "image/svg+xml", icon),
  build: hash(script + chartScript + style),
};

function asset(name: string, extension: string, type: string, text: string): Asset {
  const path = `/assets/${name}.${hash(text)}.${extension}`;
  return { path, type: `${type}; charset=utf-8`, text };
}

function hash(text: string): string {
  return Bun.hash(text).toString(36);
}
