/** Reads the settings again: for SIGHUP, and for POST /v1/reload. One reload runs at a time; the next one waits. */

import { ConfigError, SystemError } from "./base/errors.ts";
import { type Command, describeSettings, type Settings } from "./config/config.ts";
import { changedSettings, mergeReloaded } from "./config/reload.ts";
import type { FilesRead } from "./config/secret-files.ts";
import type { ReloadReport } from "./http/server.ts";
import type { LeveledLog } from "./platform/log.ts";

interface Options {
  readonly readCommand: () => { readonly command: Command; readonly files: FilesRead };
  readonly log: LeveledLog;
  readonly hostname: string;
  /** The service manager, while the settings are read. */
  readonly notifier: { reloading(): void; ready(): void } | null;
  /** The running program. */
  readonly app: {
    readonly settings: Settings;
    /** Warnings of names in the settings that match nothing now, which it has logged. */
    readonly unmatched: readonly string[];
    /** Applies settings; returns those in effect. */
    reload(wanted: Settings): Settings | Promise<Settings>;
  };
  readonly checkSecrets: (files: FilesRead, settings: Settings) => Promise<void>;
}

export class Reloader {
  readonly #options: Options;
  /** Ends when the last reload that was requested has ended. */
  #last: Promise<unknown> = Promise.resolve();

  constructor(options: Options) {
    this.#options = options;
  }

  /**
   * Reads and applies the settings. Logs the result, also if they have mistakes: the current ones then stay in effect.
   *
   * @throws ConfigError, SystemError (the returned promise)
   */
  async reload(): Promise<ReloadReport> {
    const reloaded = this.#last.then(() => this.#run());
    this.#last = reloaded.catch(() => undefined);
    return await reloaded;
  }

  async #run(): Promise<ReloadReport> {
    const { readCommand, log, hostname, notifier, app, checkSecrets } = this.#options;
    notifier?.reloading();
    try {
      const { command, files } = readCommand();
      if (!("settings" in command)) return { changed: [], needRestart: [], warnings: [] };
      const before = app.settings;
      const { needRestart } = mergeReloaded(before, command.settings);
      log.setLevel(command.settings.logLevel);
      const settings = await app.reload(command.settings);
      log.info("settings reloaded", describeSettings(settings, hostname));
      const { warnings } = command;
      for (const warning of warnings) log.warn(warning);
      void checkSecrets(files, command.settings);
      return {
        changed: changedSettings(before, settings),
        needRestart,
        warnings: [...warnings, ...app.unmatched],
      };
    } catch (error) {
      if (error instanceof ConfigError || error instanceof SystemError) {
        log.error(
          `settings not reloaded; the current ones stay in effect: ${error.message.replaceAll("\n", "; ")}`,
        );
      }
      throw error;
    } finally {
      notifier?.ready();
    }
  }
}
