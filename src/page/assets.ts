/** The files that a page needs beside itself, each under a name that changes with what is in it. */

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
  /** Another one: a page that is open already is not of this wgmon. */
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
