/** The files that the pages load, each under a name that contains a hash of its content. */

import script from "./client.js" with { type: "text" };

import style from "./style.css" with { type: "text" };

export interface Asset {
  readonly path: string;
  readonly type: string;
  readonly text: string;
}

export interface Assets {
  readonly script: Asset;
  readonly style: Asset;
  /** Hash of both files. An open page with another value was served by another build of wgmon. */
  readonly build: string;
}

export const assets: Assets = {
  script: asset("client", "js", "text/javascript", script),
  style: asset("style", "css", "text/css", style),
  build: hash(script + style),
};

function asset(name: string, extension: string, type: string, text: string): Asset {
  const path = `/assets/${name}.${hash(text)}.${extension}`;
  return { path, type: `${type}; charset=utf-8`, text };
}

function hash(text: string): string {
  return Bun.hash(text).toString(36);
}
