/**
 * Runs nft: loads, removes and looks up wgmon's own table, and lists the machine's rules. nft reads the scripts of
 * nft-rules.ts from standard input: no shell parses them, and they name no other table.
 */

import { SystemError } from "../base/errors.ts";
import { explainProgramRefusal, ownCapabilities } from "../platform/capabilities.ts";
import { runProgram, SEARCH_PATH } from "../platform/run-program.ts";
import { nftPresence, nftRemoval, nftRules, type RuleOptions, tableName } from "./nft-rules.ts";

/** Time limit for one run of nft. It takes milliseconds unless another program changes many rules at the same time. */
const RUN_MS = 10_000;
/** Maximum length of a program's error message. */
const ERROR_TEXT_MAX = 200;

// Values of SystemError.code, besides EPERM.
/** The script names a table that does not exist. */
const NO_TABLE = "ENOENT";
const ABORTED = "aborted";
const TIMED_OUT = "timed out";

/**
 * Runs an nft script, which takes effect as a whole or not at all.
 *
 * @param operation names the operation in errors.
 * @param signal kills nft; the promise settles when nft has ended.
 * @throws SystemError
 */
export type Nft = (operation: string, script: string, signal: AbortSignal) => Promise<void>;

export interface RunOptions {
  /** Replaced in tests. */
  readonly nft?: Nft | undefined;
  readonly signal?: AbortSignal;
}

/**
 * Replaces the table by one for these ports; removes it if there are no ports.
 *
 * @throws SystemError
 */
export async function installRules(rules: RuleOptions, options: RunOptions = {}): Promise<void> {
  await run(`load table ${tableName(rules.group)}`, nftRules(rules), options);
}

/**
 * Removes the table and returns whether it existed.
 *
 * @throws SystemError
 */
export async function removeRules(group: number, options: RunOptions = {}): Promise<boolean> {
  return await hadTable(run(`remove table ${tableName(group)}`, nftRemoval(group), options));
}

/**
 * Returns whether the table exists. Changes nothing.
 *
 * @throws SystemError
 */
export async function areRulesInstalled(group: number, options: RunOptions = {}): Promise<boolean> {
  return await hadTable(run(`list table ${tableName(group)}`, nftPresence(group), options));
}

/** Whether nft was killed. Its script may have taken effect before that. */
export function wasKilled({ code }: SystemError): boolean {
  return code === ABORTED || code === TIMED_OUT;
}

/**
 * Returns the output of a program that lists firewall rules, such as nft or iptables-save; null if it is not installed.
 *
 * @throws SystemError when it fails or is aborted.
 */
export async function readProgram(
  name: string,
  args: readonly string[],
  signal: AbortSignal,
): Promise<string | null> {
  const ran = await runProgram([name, ...args], { signal });
  if (ran === null) return null;
  const { exitCode, stdout, stderr } = ran;
  if (exitCode === 0) return stdout;
  const operation = [name, ...args].join(" ");
  if (signal.aborted) throw new SystemError(operation, TIMED_OUT);
  if (/not permitted|ermission denied/.test(stderr)) throw notPermitted(operation);
  throw new SystemError(
    operation,
    stderr.trim().slice(0, ERROR_TEXT_MAX) || `exit code ${exitCode}`,
  );
}

async function run(operation: string, script: string, options: RunOptions): Promise<void> {
  const { nft = runNft, signal = new AbortController().signal } = options;
  await nft(operation, script, signal);
}

/** Returns false if the table that the script names does not exist. */
async function hadTable(running: Promise<void>): Promise<boolean> {
  try {
    await running;
    return true;
  } catch (error) {
    if (error instanceof SystemError && error.code === NO_TABLE) return false;
    throw error;
  }
}

async function runNft(operation: string, script: string, signal: AbortSignal): Promise<void> {
  const limit = AbortSignal.timeout(RUN_MS);
  const combined = AbortSignal.any([signal, limit]);
  if (combined.aborted) throw new SystemError(operation, ABORTED);
  const ran = await runProgram(["nft", "-f", "-"], { input: script, signal: combined });
  if (ran === null) {
    const hint = `not in ${SEARCH_PATH}; install nftables, or use wgmon rules --iptables`;
    throw new SystemError(operation, "nft is not installed", hint);
  }
  if (ran.exitCode === 0) return;
  if (signal.aborted) throw new SystemError(operation, ABORTED);
  if (limit.aborted) {
    throw new SystemError(operation, TIMED_OUT, `nft was killed after ${RUN_MS / 1000} s`);
  }
  throw nftError(operation, ran.stderr);
}

/** Turns nft's error text into a SystemError. The text is English, because nft runs without LANG. */
function nftError(operation: string, stderr: string): SystemError {
  const reason = /Error: (.*)/.exec(stderr)?.[1] ?? (stderr.trim() || "no error message");
  const text = `nft: ${reason.slice(0, ERROR_TEXT_MAX)}`;
  if (reason.includes("Operation not permitted")) return notPermitted(operation, `${text}; `);
  if (reason.includes("No such file or directory")) {
    const hint = "the kernel may lack a module for the rules: nf_tables, nft_log, nfnetlink_log";
    return new SystemError(operation, NO_TABLE, `${text}; ${hint}`);
  }
  return new SystemError(operation, "nft failed", text);
}

function notPermitted(operation: string, prefix = ""): SystemError {
  const why = explainProgramRefusal("CAP_NET_ADMIN", ownCapabilities());
  return new SystemError(operation, "EPERM", `${prefix}${why}`);
}
