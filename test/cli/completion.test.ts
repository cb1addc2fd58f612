/**
 * The candidates of `wgmon __complete`, and the completion in each shell with the script of `wgmon completion`: each
 * shell is run as if the user pressed Tab.
 */

import { afterAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { ruleOf } from "../../src/alerts/rule.ts";
import { namesOf, withNames } from "../../src/cli/completion-names.ts";
import { complete, completion } from "../../src/cli/completion.ts";
import { COMMAND_NAMES, commandOf } from "../../src/config/commands-table.ts";
import { SETTING_NAMES } from "../../src/config/settings-table.ts";
import { asked } from "../support/api-reader.ts";
import { FakeSource } from "../support/source.ts";
import { alertView } from "../support/stored-alerts.ts";
import { REPORT_MS, TEST_MS } from "../support/until.ts";

setDefaultTimeout(TEST_MS);

const shells = ["bash", "zsh", "fish"] as const;
type Shell = (typeof shells)[number];

const folder = mkdtempSync(join(tmpdir(), "wgmon-completion-"));
mkdirSync(join(folder, "some-folder"));
// An unquoted glob such as peer.* would find peer.surprise.
for (const name of ["some-file", "peer.surprise"]) writeFileSync(join(folder, name), "");
for (const shell of shells) writeFileSync(join(folder, `script.${shell}`), completion(shell));
// The scripts call it.
const main = join(import.meta.dir, "../../src/main.ts");
writeFileSync(join(folder, "wgmon"), `#!/bin/sh\nexec '${process.execPath}' '${main}' "$@"\n`, {
  mode: 0o755,
});

afterAll(() => rmSync(folder, { recursive: true }));

/** For bash: calls the function that Tab calls, and prints its candidates. */
const BASH = `
source ./script.bash
COMP_LINE=$1
spaced=\${COMP_LINE//=/ = }
read -ra COMP_WORDS <<<"\${spaced//:/ : }"
[[ $COMP_LINE == *\\  ]] && COMP_WORDS+=("")
COMP_CWORD=$((\${#COMP_WORDS[@]} - 1))
current=\${COMP_WORDS[COMP_CWORD]}
_wgmon "\${COMP_WORDS[0]}" "\${current#[=:]}" 2>/dev/null
printf '%s\\n' "\${COMPREPLY[@]}"
`;

/** For zsh: presses Tab in a pseudo-terminal. A wrapper of compadd writes the candidates to a file. */
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
    env: { PATH: `${folder}:${process.env["PATH"]}`, HOME: folder, TERM: "dumb" },
    timeout: REPORT_MS,
  });
  const complaint = stderr.toString();
  expect({ line, complaint, exitCode }).toEqual({ line, complaint: "", exitCode: 0 });
  const words = stdout
    .toString()
    .split("\n")
    .map((each) => each.split("\t")[0]!.replace(/^--[\w-]+=(?=.)|\/$/g, ""))
    .filter((each) => each !== "" && each !== "done");
  return [...new Set(words)].sort();
}

const interfaces = [...new Bun.Glob("*").scanSync({ cwd: "/sys/class/net", onlyFiles: false })];

describe("names that only the running wgmon knows", () => {
  test("rules, alerts and silences are completed with their descriptions", async () => {
    const source = await FakeSource.make();
    using _store = source.store;
    source.alerts.all = [ruleOf("down", "office-down")];
    source.alerts.firing = [alertView(), alertView({ id: "", state: "pending" })];
    const matchers = [{ field: "peer", pattern: "branch-*" }] as const;
    source.alerts.addSilence({ matchers, endMs: 2e12, comment: "", createdBy: "" });
    const api = asked(source);
    expect(await namesOf(api, ":rule")).toEqual([["office-down", "down"]]);
    expect(await namesOf(api, ":alert")).toEqual([["alert-7", "alice (wg0) is down for an hour"]]);
    expect(await namesOf(api, ":silence")).toEqual([["silence-1", "peer=branch-*"]]);
  });

  test("there are none if wgmon does not run, and other lines are unchanged", async () => {
    const env = { RUNTIME_DIRECTORY: folder };
    expect(await withNames([":rule\t--rule="], env)).toEqual([]);
    expect(await withNames(["list", "drop"], env)).toEqual(["list", "drop"]);
  });
});

describe("wgmon __complete", () => {
  const names = (...words: readonly string[]) =>
    complete(words).map((line) => line.split("\t")[0]!);
  const settings = [...SETTING_NAMES.map((name) => `--${name}`), "--no-announce-existing"];

  test.each<[string[], string[]]>([
    [[], COMMAND_NAMES],
    [[""], COMMAND_NAMES],
    // The shell filters by prefix.
    [["st"], COMMAND_NAMES],
    [["--tick", "5s", ""], COMMAND_NAMES],
    [["--tick=5s", "--manage-rules", ""], COMMAND_NAMES],
    [["--tikc", ""], COMMAND_NAMES],
    [
      ["outbox", ""],
      ["list", "retry", "drop"],
    ],
    [
      ["outbox", "--dead", "--target", "ops", "re"],
      ["list", "retry", "drop"],
    ],
    [
      ["completion", ""],
      ["bash", "zsh", "fish"],
    ],
    [
      ["alerts", ""],
      ["test", "explain", "examples"],
    ],
    [["alerts", "explain", ""], [":alert"]],
    [["alerts", "test", "./w"], [":file"]],
    [["alerts", "--rule", ""], [":rule"]],
    [["silence", "expire", ""], [":silence"]],
    [
      ["silence", "add", "peer=a", ""],
      ["peer=", "tag=", "device=", "rule=", "severity=", "target="],
    ],
    [["check", ""], [":file"]],
    [["-"], [...settings, "--help", "--version", "--licenses"]],
    [
      ["run", "--"],
      [...settings, "--help"],
    ],
    [
      ["run", ""],
      [...settings, "--help"],
    ],
    [["health", "--"], ["--help"]],
    [
      ["receive", "--tick", "5s", "--"],
      ["--port", "--address", "--secret-file", "--help"],
    ],
    [
      ["--monitor", ""],
      ["auto", "nflog", "bpf", "poll"],
    ],
    [
      ["-monitor", "n"],
      ["auto", "nflog", "bpf", "poll"],
    ],
    [["--monitor=n"], ["--monitor=auto", "--monitor=nflog", "--monitor=bpf", "--monitor=poll"]],
    [["-monitor=a=b"], ["-monitor=auto", "-monitor=nflog", "-monitor=bpf", "-monitor=poll"]],
    [["--config", "some"], [":file"]],
    [["--config=some"], [":file"]],
    [["receive", "--secret-file", ""], [":file"]],
    [["--state-dir", ""], [":folder"]],
    [["--host", ""], []],
    [["--host="], []],
    [["--tikc=5"], []],
    [["otubox", ""], []],
    [["otubox", "--"], []],
    [
      ["--", "outbox", ""],
      ["list", "retry", "drop"],
    ],
  ])("wgmon __complete suggests the expected words for %j", (words, expected) => {
    expect(names(...words).sort()).toEqual([...expected].sort());
  });

  test("wgmon __complete suggests a command's own flags, and the flags of the settings if it takes settings", () => {
    for (const command of COMMAND_NAMES) {
      const { flags, takesSettings } = commandOf(command);
      const own = Object.keys(flags).map((name) => `--${name}`);
      const all = new Set([...own, ...(takesSettings ? settings : []), "--help"]);
      expect(names(command, "--").sort()).toEqual([...all].sort());
    }
  });

  test("wgmon __complete suggests this machine's interfaces for --device", () => {
    expect(names("--device", "").sort()).toEqual([...interfaces].sort());
  });

  test("wgmon __complete prints descriptions of commands and flags after a tab", () => {
    expect(complete([""])).toContain(
      "health\tcheck whether the running wgmon is ready (exit code 0)",
    );
    expect(complete(["status", "--de"])).toContain("--device\tonly this device");
    expect(complete(["--no"])).toContainEqual(
      expect.stringMatching(/^--no-announce-existing\tnot: at/),
    );
  });

  test.each([
    [["--help", "x\n", "--moniter=", "--", "--config"], ""],
    [["--config", "/nosuch", "outbox", "r"], "list\nretry\ndrop\n"],
  ])("wgmon __complete prints no error with %j", (words, printed) => {
    const { stdout, stderr, exitCode } = Bun.spawnSync(
      [join(folder, "wgmon"), "__complete", ...words],
      { env: { ...process.env, WGMON_TICK: "never" } },
    );
    const result = { stdout: stdout.toString(), stderr: stderr.toString(), exitCode };
    expect(result).toEqual({ stdout: printed, stderr: "", exitCode: 0 });
  });
});

const required = /^(true|1)$/.test(process.env["CI"] ?? "");

for (const shell of shells) {
  const isMissing = Bun.which(shell) === null && !required;
  const note = isMissing ? ` [skipped: no ${shell} here]` : "";

  describe.skipIf(isMissing)(`${shell}${note}`, () => {
    const ask = (line: string) => suggestions(shell, line);

    test(`${shell} finds no syntax error in the script`, () => {
      const { exitCode, stderr } = Bun.spawnSync([shell, "-n", `script.${shell}`], { cwd: folder });
      expect({ exitCode, complaint: stderr.toString() }).toEqual({ exitCode: 0, complaint: "" });
    });

    test(`the completion of ${shell} suggests all commands, and the words that follow them`, () => {
      expect(ask("wgmon ")).toEqual(expect.arrayContaining([...COMMAND_NAMES].sort()));
      expect(ask("wgmon out")).toEqual(["outbox"]);
      expect(ask("wgmon outbox ")).toEqual(["drop", "list", "retry"]);
      expect(ask("wgmon --tick 5s outbox re")).toEqual(["retry"]);
      expect(ask("wgmon completion ")).toEqual(["bash", "fish", "zsh"]);
    });

    test(`the completion of ${shell} suggests only the flags of the command`, () => {
      expect(ask("wgmon --idle")).toEqual(["--idle-timeout"]);
      const settings = SETTING_NAMES.map((name) => `--${name}`);
      expect(ask("wgmon --")).toEqual(expect.arrayContaining(settings));
      expect(ask("wgmon rules --")).toEqual(expect.arrayContaining([...settings, "--iptables"]));
      const own = Object.keys(commandOf("receive").flags).map((name) => `--${name}`);
      expect(ask("wgmon receive --")).toEqual([...own, "--help"].sort());
      expect(ask("wgmon health --")).toEqual(["--help"]);
      expect(ask("wgmon --no-")).toContain("--no-announce-existing");
    });

    test(`the completion of ${shell} suggests values, after a space and after =`, () => {
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

    test(`the completion of ${shell} suggests files, folders, and the interfaces of this machine`, () => {
      expect(ask("wgmon --config some-fi")).toEqual(["some-file"]);
      expect(ask("wgmon --state-dir some-")).toEqual(["some-folder"]);
      const plain = interfaces.filter((name) => /^[\w.@-]+$/.test(name)).sort();
      expect(ask("wgmon --interface ")).toEqual(plain);
      expect(ask("wgmon --device ")).toEqual(plain);
    });

    test(`the completion of ${shell} takes the words before the cursor into account, whatever they contain`, () => {
      expect(ask("wgmon --listen 127.0.0.1:9588 outb")).toEqual(["outbox"]);
      expect(ask("wgmon --listen=127.0.0.1:9588 outb")).toEqual(["outbox"]);
      expect(ask("wgmon --state-dir=some-")).toEqual(["some-folder"]);
      expect(ask("./wgmon outb")).toEqual(["outbox"]);
    });

    test(`the completion of ${shell} suggests nothing where there are no candidates`, () => {
      expect(ask("wgmon --host ")).toEqual([]);
      expect(ask("wgmon otubox ")).toEqual([]);
      expect(ask("nosuchfolder/wgmon ")).toEqual([]);
    });
  });
}
