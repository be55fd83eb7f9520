/** One run at a time: begun, followed, stopped, taken up again after a reload. */
import * as api from "./api.js";
import type { Output } from "./output.js";
import type { Meters } from "./plot.js";
import { seconds } from "./names.js";

const KEY = "pyjail.run";

export interface Kept { id: string; began: number; limits: api.Limits; expected: string }
export interface Seen {
  state(text: string, running: boolean): void;
  gone(text: string): void;
  ended(told: api.Told, kept: Kept): void;
  failed(error: unknown): void;
}

export class Runner {
  private current: { kept: Kept | null; stop: AbortController; stopped: number } | null = null;

  constructor(private readonly output: Output, private readonly meters: Meters, private readonly seen: Seen) {}

  get running(): boolean {
    return this.current !== null;
  }

  async start(body: object, limits: api.Limits, expected: string): Promise<void> {
    if (this.current) return;
    const now = this.begin(limits);
    this.seen.state("Sending\u2026", true);
    try {
      const told = await api.submit(body);
      const kept = now.kept = { id: told.id ?? "", began: Date.now(), limits, expected };
      if (told.result !== undefined || told.compile) this.end(now, told); // it answered with the whole of it
      else if (now.stopped) await this.stop();
      if (this.current === now && told.id) {
        sessionStorage.setItem(KEY, JSON.stringify(kept));
        this.seen.state("Waiting for a turn\u2026", true);
        await this.follow(now, kept);
      }
    } catch (error) {
      this.fail(now, error);
    }
  }

  /** What ran when the page was left. */
  async resume(): Promise<void> {
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
      await api.cancel(now.kept.id);
      this.seen.gone(`Jail gone in ${seconds((performance.now() - now.stopped) / 1000)}.`);
      const told = await api.fetched(now.kept.id).catch(() => ({}) as api.Told);
      if (this.current === now) this.end(now, { state: "cancelled", ...told });
    } catch (error) {
      if (this.current === now) this.fail(now, error);
    }
  }

  private begin(limits: api.Limits): NonNullable<Runner["current"]> {
    this.output.clear();
    this.meters.start(limits);
    this.seen.gone("");
    return this.current = { kept: null, stop: new AbortController(), stopped: 0 };
  }

  private async follow(now: NonNullable<Runner["current"]>, kept: Kept): Promise<void> {
    const decoders = { stdout: new TextDecoder(), stderr: new TextDecoder() };
    const at = { stdout: 0, stderr: 0 };
    let told: api.Told | null = null;
    await api.follow(kept.id, ({ kind, data }) => {
      if (this.current !== now) return;
      if (kind === "stdout" || kind === "stderr") {
        const raw = typeof data.b64 === "string" ? Uint8Array.from(atob(data.b64), (c) => c.charCodeAt(0)) : null;
        const text = raw ? decoders[kind].decode(raw, { stream: true }) : String(data.t ?? "");
        const from = Number(data.o ?? at[kind]);
        if (from > at[kind]) this.output.say(`[${from - at[kind]} bytes were too quick for this page; the result has them]`);
        const size = raw ? raw.length : new TextEncoder().encode(text).length;
        at[kind] = from + size;
        this.output.add(kind === "stdout" ? "o" : "e", text, size);
      } else if (kind === "state") {
        const state = String(data.state ?? "");
        if (state === "running" && !now.stopped) this.seen.state(data.step === "compile" ? "Compiling\u2026" : "Running\u2026", true);
        if (state === "cancelled" || state === "lost") told = { state };
      } else if (kind === "usage") {
        this.meters.sample(data, (Date.now() - kept.began) / 1000);
      } else if (kind === "result") {
        told = { ...told, ...data } as api.Told;
      }
      if (told && kind !== "result" && told.state) now.stop.abort(); // no result comes
    }, now.stop.signal);
    if (this.current === now && !now.stopped) this.end(now, told ?? await api.fetched(kept.id, 30));
  }

  private end(now: NonNullable<Runner["current"]>, told: api.Told): void {
    if (this.current !== now) return;
    this.current = null;
    now.stop.abort();
    sessionStorage.removeItem(KEY);
    this.show(told.compile, !told.result);
    if (told.result) {
      if (!this.output.written.o && !this.output.written.e) this.show(told.result, true);
      this.meters.end(told.result);
    }
    this.seen.ended(told, now.kept ?? { id: "", began: 0, limits: {}, expected: "" });
  }

  private show(result: api.Result | null | undefined, out: boolean): void {
    if (!result || this.output.written.o + this.output.written.e > 0) return;
    const text = new TextDecoder();
    if (out) this.output.add("o", text.decode(api.unpacked(result.stdout)));
    this.output.add("e", text.decode(api.unpacked(result.stderr)));
  }

  private fail(now: NonNullable<Runner["current"]>, error: unknown): void {
    if (this.current !== now) return;
    this.current = null;
    now.stop.abort();
    sessionStorage.removeItem(KEY);
    this.seen.failed(error);
  }
}
