/** What the shells themselves make of `wgmon completion`: each is asked as if somebody pressed Tab. */

import { afterAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { completion } from "../../src/cli/completion.ts";
import { commandOf, COMMANDS, NAMES } from "../../src/config/settings-table.ts";
import { REPORT_MS, TEST_MS } from "../support/until.ts";

setDefaultTimeout(TEST_MS);

const shells = ["bash", "zsh", "fish"] as const;
type Shell = (typeof shells)[number];

const folder = mkdtempSync(join(tmpdir(), "wgmon-completion-"));
mkdirSync(join(folder, "some-folder"));
// A glob that is let loose finds it.
for (const name of ["some-file", "peer.surprise"]) writeFileSync(join(folder, name), "");
for (const shell of shells) writeFileSync(join(folder, `script.${shell}`), completion(shell));

afterAll(() => rmSync(folder, { recursive: true }));

/** Bash is asked for what it would take over, by the function that Tab calls. */
const BASH = `
source ./script.bash
line=$1
COMP_WORDS=() COMPREPLY=()
read -ra COMP_WORDS <<<"\${line//=/ = }"
[[ $line == *[\\ =] ]] && COMP_WORDS+=("")
COMP_CWORD=$((\${#COMP_WORDS[@]} - 1))
_wgmon 2>/dev/null
printf '%s\\n' "\${COMPREPLY[@]}"
`;

/** Zsh's own way of completing, in a terminal of its own; what it would add is written to a file. */
const ZSH = `
zmodload zsh/zpty
zpty wgmon zsh -f -i
zpty -w wgmon $'PROMPT= RPROMPT=; cd '$PWD$'; autoload -Uz compinit; compinit -u -d ./dump; source ./script.zsh
compadd() { [[ $* == *-[OAD]* ]] && { builtin compadd "$@"; return }
local -a given; builtin compadd -A given "$@"; print -rl -- $given >>! ./answer; builtin compadd "$@" }
accept() { print done >>! ./answer }; zle -N accept; bindkey "^X" accept; print ready >>! ./ready'
until [[ -s ./ready ]]; do zpty -r -t wgmon output; sleep 0.05; done
zpty -w -n wgmon "$1"$'\\t'$'\\x18'
until [[ -s ./answer && $(<./answer) == *done ]]; do zpty -r -t wgmon output; sleep 0.05; done
zpty -d wgmon
cat ./answer
`;

function suggestions(shell: Shell, line: string): string[] {
  const commands: Readonly<Record<Shell, string[]>> = {
    bash: ["bash", "--norc", "-c", BASH, "bash", line],
    zsh: ["zsh", "-f", "-c", ZSH, "zsh", line],
    fish: ["fish", "--no-config", "-c", "source ./script.fish; complete -C $argv[1]", line],
  };
  for (const left of ["ready", "answer"]) rmSync(join(folder, left), { force: true });
  const { stdout, stderr, exitCode } = Bun.spawnSync(commands[shell], {
    cwd: folder,
    env: { PATH: process.env["PATH"], HOME: folder, TERM: "dumb" },
    timeout: REPORT_MS,
  });
  expect({ line, complaint: stderr.toString(), exitCode }).toMatchObject({ line, exitCode: 0 });
  const words = stdout
    .toString()
    .split("\n")
    .map((each) => each.split("\t")[0]!.replace(/^--[\w-]+=(?=.)|\/$/g, ""))
    .filter((each) => each !== "" && each !== "done");
  return [...new Set(words)].sort();
}

const interfaces = [...new Bun.Glob("*").scanSync({ cwd: "/sys/class/net", onlyFiles: false })];

const required = /^(true|1)$/.test(process.env["CI"] ?? "");

for (const shell of shells) {
  const isMissing = Bun.which(shell) === null && !required;
  const note = isMissing ? ` [skipped: no ${shell} here]` : "";

  describe.skipIf(isMissing)(`${shell}${note}`, () => {
    const ask = (line: string) => suggestions(shell, line);

    test("finds no mistake in it", () => {
      const { exitCode, stderr } = Bun.spawnSync([shell, "-n", `script.${shell}`], { cwd: folder });
      expect({ exitCode, complaint: stderr.toString() }).toEqual({ exitCode: 0, complaint: "" });
    });

    test("suggests all commands, and their words", () => {
      expect(ask("wgmon ")).toEqual(expect.arrayContaining([...COMMANDS].sort()));
      expect(ask("wgmon out")).toEqual(["outbox"]);
      expect(ask("wgmon outbox ")).toEqual(["drop", "list", "retry"]);
      expect(ask("wgmon --tick 5s outbox re")).toEqual(["retry"]);
      expect(ask("wgmon completion ")).toEqual(["bash", "fish", "zsh"]);
    });

    test("suggests the flags of the command alone", () => {
      expect(ask("wgmon --idle")).toEqual(["--idle-timeout"]);
      const settings = NAMES.map((name) => `--${name}`);
      expect(ask("wgmon --")).toEqual(expect.arrayContaining(settings));
      expect(ask("wgmon rules --")).toEqual(expect.arrayContaining([...settings, "--iptables"]));
      const own = Object.keys(commandOf("receive").flags).map((name) => `--${name}`);
      expect(ask("wgmon receive --")).toEqual([...own, "--help"].sort());
      expect(ask("wgmon health --")).toEqual(["--help"]);
      expect(ask("wgmon --no-")).toContain("--no-announce-existing");
    });

    test("suggests values, behind a space and behind =", () => {
      expect(ask("wgmon --monitor ")).toEqual(["auto", "bpf", "nflog", "poll"]);
      expect(ask("wgmon --monitor=n")).toEqual(["nflog"]);
      expect(ask("wgmon rules --log-level w")).toEqual(["warn"]);
      expect(ask("wgmon --webhook-format goog")).toEqual(["google-chat"]);
      const events = ask("wgmon --webhook-events peer.");
      expect(events.map((each) => each.replaceAll("\\", ""))).toEqual([
        "peer.*",
        "peer.connected",
        "peer.disconnected",
        "peer.roamed",
      ]);
    });

    test("suggests files, folders, and the interfaces of this machine", () => {
      expect(ask("wgmon --config some-fi")).toEqual(["some-file"]);
      expect(ask("wgmon --state-dir some-")).toEqual(["some-folder"]);
      const plain = interfaces.filter((name) => /^[\w.@-]+$/.test(name)).sort();
      expect(ask("wgmon --interface ")).toEqual(plain);
      expect(ask("wgmon --device ")).toEqual(plain);
    });

    test("suggests nothing where it knows nothing", () => {
      expect(ask("wgmon --host ")).toEqual([]);
    });
  });
}
