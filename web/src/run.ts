/** One run at a time: begun, followed, stopped, taken up again after a reload. */
import * as api from "./api.js";
import type { Output } from "./output.js";
import type { Meters } from "./plot.js";
import { seconds } from "./names.js";

const KEY = "pyjail.run";
const SMALL = 1 << 20; // bytes of output that the page can show whole

export interface Kept { id: string; began: number; limits: api.Limits; expected: string }
export interface Seen {
  state(text: string, running: boolean): void;
  gone(text: string): void;
  ended(told: api.Told, kept: Kept): void;
  failed(error: unknown): void;
}

const size = (told: api.Told): number => (told.result?.stdout_bytes ?? 0) + (told.result?.stderr_bytes ?? 0);

export class Runner {
  private current: { kept: Kept | null; stop: AbortController; stopped: number; followed: boolean; lagged: boolean } | null = null;

  constructor(private readonly output: Output, private readonly meters: Meters, private readonly seen: Seen) {}

  get running(): boolean {
    return this.current !== null;
  }

  async start(body: object, limits: api.Limits, expected: string): Promise<void> {
    if (this.running) return;
    const now = this.begin(limits);
    this.seen.state("Sending\u2026", true);
    try {
      const told = await api.submit(body);
      const kept = now.kept = { id: told.id ?? "", began: Date.now(), limits, expected };
      if (told.result !== undefined || told.compile) this.end(now, told); // it answered with the whole of it
      if (this.current === now && told.id) {
        sessionStorage.setItem(KEY, JSON.stringify(kept));
        if (now.stopped) return await this.stop();
        this.seen.state("Waiting for a turn\u2026", true);
        await this.follow(now, kept);
      }
    } catch (error) {
      this.fail(now, error);
    }
  }

  /** What ran when the page was left. */
  async resume(): Promise<void> {
    if (this.running) return;
    let kept: Kept | null = null;
    try { kept = JSON.parse(sessionStorage.getItem(KEY) ?? "null") as Kept | null; } catch { /* somebody else's */ }
    if (!kept || typeof kept.id !== "string" || !kept.id) return;
    const now = this.begin(kept.limits ?? {});
    now.kept = kept;
    this.seen.state("Taken up again\u2026", true);
    try {
      await this.follow(now, kept);
    } catch (error) {
      this.fail(now, error);
    }
  }

  async stop(): Promise<void> {
    const now = this.current;
    if (!now) return;
    now.stopped ||= performance.now();
    this.seen.state("Stopping\u2026", true);
    if (!now.kept) return; // as soon as it has an id
    try {
      const told = await api.cancel(now.kept.id);
      this.seen.gone(`Jail gone in ${seconds((told.gone_ms ?? performance.now() - now.stopped) / 1000)}.`);
      if (this.current === now) this.end(now, await this.mended(now, now.kept.id, await api.fetched(now.kept.id, false).catch(() => told)));
    } catch (error) {
      if (this.current === now) this.fail(now, error);
    }
  }

  private begin(limits: api.Limits): NonNullable<Runner["current"]> {
    this.output.clear();
    this.meters.start(limits);
    this.seen.gone("");
    return this.current = { kept: null, stop: new AbortController(), stopped: 0, followed: false, lagged: false };
  }

  private async follow(now: NonNullable<Runner["current"]>, kept: Kept): Promise<void> {
    const decoders = { stdout: new TextDecoder(), stderr: new TextDecoder() };
    const at = { stdout: 0, stderr: 0 };
    let told: api.Told | null = null;
    await api.follow(kept.id, ({ kind, data }) => {
      if (this.current !== now) return;
      now.followed = true;
      if (kind === "stdout" || kind === "stderr") {
        const raw = typeof data.b64 === "string" ? api.decoded(data.b64) : null;
        const text = raw ? decoders[kind].decode(raw, { stream: true }) : String(data.t ?? "");
        const from = Number(data.o ?? at[kind]);
        if (from > at[kind]) now.lagged = true, this.output.say(`[${from - at[kind]} bytes were too quick for this page; they are in the result]`);
        const size = raw ? raw.length : new TextEncoder().encode(text).length;
        at[kind] = from + size;
        this.output.add(kind === "stdout" ? "o" : "e", text, size);
      } else if (kind === "state") {
        const state = String(data.state ?? "");
        if (state === "running" && !now.stopped) this.seen.state(data.step === "compile" ? "Compiling\u2026" : "Running\u2026", true);
      } else if (kind === "usage") {
        this.meters.sample(data, (Date.now() - kept.began) / 1000);
      } else if (kind === "result") {
        told = { ...told, ...data } as api.Told;
      }
    }, now.stop.signal);
    if (this.current !== now || now.stopped) return;
    this.end(now, await this.mended(now, kept.id, told ?? {}));
  }

  /** With the output, where the page can show all of it and has missed some: one stream alone, for two have an order. */
  private async mended(now: NonNullable<Runner["current"]>, id: string, told: api.Told): Promise<api.Told> {
    const { stdout_bytes: out, stderr_bytes: err } = told.result ?? {};
    if (now.followed && !(now.lagged && size(told) <= SMALL && !(out && err))) return told;
    const whole = await api.fetched(id, true).catch(() => null);
    if (!whole || this.current !== now) return told;
    if (now.followed) this.output.clear();
    now.followed = false;
    return whole;
  }

  private end(now: NonNullable<Runner["current"]>, told: api.Told): void {
    if (this.current !== now) return;
    this.current = null;
    now.stop.abort();
    sessionStorage.removeItem(KEY);
    if (told.compile && (!told.result || api.unpacked(told.compile.stderr).length)) {
      this.output.say("[the compiler]");
      this.show(told.compile);
    }
    if (told.result) {
      if (!now.followed) this.show(told.result);
      this.meters.end(told.result);
    }
    this.seen.ended(told, now.kept ?? { id: "", began: 0, limits: {}, expected: "" });
  }

  private show(result: api.Result): void {
    const text = new TextDecoder();
    const out = api.unpacked(result.stdout), err = api.unpacked(result.stderr);
    this.output.add("o", text.decode(out), out.length);
    this.output.add("e", text.decode(err), err.length);
  }

  private fail(now: NonNullable<Runner["current"]>, error: unknown): void {
    if (this.current !== now) return;
    this.current = null;
    now.stop.abort();
    sessionStorage.removeItem(KEY);
    this.seen.failed(error);
  }
}
