/** The service, as this page calls it: JSON, problems, events that are resumed. */

export interface Packed { bytes?: string; base64?: string; text?: string }
export interface Usage { wall_time?: number | null; cpu_time?: number | null; memory_peak?: number | null; processes_peak?: number | null; setup_time?: number | null }
export interface Row { name: string; asked: string; enforced_by: string; value: string; status: string }
export interface Result {
  verdict: string; exit_code: number | null; signal: number | null; usage: Usage; limits: Record<string, number | null>;
  limits_hit: string[]; syscall?: string | null; error?: unknown; receipt?: Row[]; stdout?: Packed | string | null;
  stderr?: Packed | string | null; stdout_bytes?: number; stderr_bytes?: number;
  files?: Record<string, Packed | string>; uncollected?: Record<string, Packed | string>;
}
export interface Told { id?: string; queue_s?: number; fault?: string | null; compile?: Result | null; result?: Result | null; state?: string; reason?: string; gone_ms?: number; problem?: { detail?: string; field?: string; status?: number } }
export interface Language { name: string; title: string; available: boolean; reason: string; version: string }
export type Limits = Record<string, number | null>;

const TOKEN = "pyjail.token";
const BUDGET = 8; // milliseconds in which events are taken without a pause

export class Problem extends Error {
  constructor(readonly status: number, readonly detail: string, readonly field = "", readonly hint = "", readonly retry = 0) {
    super(detail);
  }
  words(): string {
    const where = this.field ? `${this.field}: ` : "";
    const more = (this.hint ? ` ${this.hint}` : "") + (this.retry ? ` Try again in ${this.retry} s.` : "");
    return `${where}${this.detail}${more} (${this.status})`;
  }
}

export const token = (): string => sessionStorage.getItem(TOKEN) ?? "";
export const keepToken = (value: string): void => value ? sessionStorage.setItem(TOKEN, value) : sessionStorage.removeItem(TOKEN);

async function send(path: string, options: RequestInit & { headers?: Record<string, string> } = {}): Promise<Response> {
  const headers: Record<string, string> = { ...options.headers };
  if (token()) headers.Authorization = `Bearer ${token()}`;
  const answer = await fetch(path, { ...options, headers, credentials: "omit", redirect: "error", cache: "no-store" });
  if (answer.ok) return answer;
  let told: Record<string, unknown> = {};
  try { told = await answer.json() as Record<string, unknown>; } catch { /* no JSON: the status has to do */ }
  const text = (name: string): string => typeof told[name] === "string" ? told[name] as string : "";
  throw new Problem(answer.status, text("detail") || text("title") || answer.statusText || "refused", text("field"), text("hint"),
    Number(answer.headers.get("Retry-After")) || 0);
}

export async function languages(): Promise<Language[]> {
  const told = await (await send("v1/languages")).json() as unknown;
  const rows = Array.isArray(told) ? told : (told as { languages?: unknown }).languages ?? told;
  const list = Array.isArray(rows) ? rows : Object.entries(rows as object).map(([name, row]) => ({ name, ...row }));
  return (list as Record<string, unknown>[]).map((row) => ({
    name: String(row.name), title: String(row.title ?? row.name), available: row.available !== false,
    reason: String(row.reason ?? row.why ?? row.missing ?? ""), version: String(row.version ?? ""),
  }));
}

export async function limits(): Promise<{ defaults: Limits; maxima: Limits }> {
  const told = await (await send("v1/limits")).json() as Record<string, Limits>;
  return { defaults: told.defaults ?? told.limits ?? {}, maxima: told.maxima ?? {} };
}

export async function submit(body: object): Promise<Told> {
  const headers = { "Content-Type": "application/json", Prefer: "respond-async" };
  const answer = await send("v1/runs?receipt=true", { method: "POST", headers, body: JSON.stringify(body) });
  const told = await answer.json() as Told;
  if (!told.id) told.id = (answer.headers.get("Location") ?? "").split("/").pop() || undefined;
  return told;
}

/** What became of it, without its output: its jail is gone then. */
export async function cancel(id: string): Promise<Told> {
  return await (await send(`v1/runs/${encodeURIComponent(id)}?output=false`, { method: "DELETE" })).json() as Told;
}

export async function fetched(id: string, output: boolean): Promise<Told> {
  return await (await send(`v1/runs/${encodeURIComponent(id)}?receipt=true&output=${output}`)).json() as Told;
}

export interface Event { kind: string; data: Record<string, unknown> }

/** Lines of an event stream -> events; `last` is the id that it is resumed by. */
export class Parser {
  last = "";
  private id = "";
  private rest: string[] = []; // of the line that is not yet whole
  private kind = "";
  private data: string[] = [];

  *feed(text: string): Generator<Event> {
    const parts = text.split("\n"); // as this service ends lines
    const end = parts.pop()!;
    const lines = parts.map((part, at) => (at ? part : this.rest.join("") + part).replace(/\r$/, ""));
    if (parts.length) this.rest = [];
    if (end) this.rest.push(end);
    for (const line of lines) {
      if (line === "") {
        if (this.id) this.last = this.id; // not before it is whole: what was cut off is asked for again
        if (this.data.length) {
          let data: unknown = null;
          try { data = JSON.parse(this.data.join("\n")); } catch { /* not ours */ }
          if (data && typeof data === "object") yield { kind: this.kind || "message", data: data as Record<string, unknown> };
        }
        this.kind = ""; this.data = [];
        continue;
      }
      const at = line.indexOf(":");
      const name = at < 0 ? line : line.slice(0, at);
      const value = at < 0 ? "" : line.slice(line[at + 1] === " " ? at + 2 : at + 1);
      if (name === "event") this.kind = value;
      else if (name === "data") this.data.push(value);
      else if (name === "id") this.id = value;
    }
  }
}

const pause = (ms: number): Promise<void> => new Promise((resolve) => { setTimeout(resolve, ms); });

/** Hand each event of a run to `take` until its result is there, which has no output: 100 MB of JSON would be parsed in one
    go. A broken connection is taken up where it broke. */
export async function follow(id: string, take: (event: Event) => void, stop: AbortSignal): Promise<void> {
  let failures = 0, last = "", done = false;
  while (!done && !stop.aborted) {
    const parser = new Parser();
    parser.last = last;
    try {
      const headers: Record<string, string> = { Accept: "text/event-stream" };
      if (last) headers["Last-Event-ID"] = last;
      const answer = await send(`v1/runs/${encodeURIComponent(id)}/events?receipt=true&output=false`, { headers, signal: stop });
      if (answer.status === 204) return; // all of it was told
      const reader = answer.body!.pipeThrough(new TextDecoderStream()).getReader();
      let breath = performance.now();
      for (;;) {
        const { done: end, value } = await reader.read();
        if (end) break;
        failures = 0;
        for (const event of parser.feed(value)) {
          take(event);
          if (event.kind === "result") done = true;
          if (performance.now() - breath > BUDGET) { await pause(0); breath = performance.now(); } // the page draws, too
        }
        last = parser.last;
      }
    } catch (error) {
      if (stop.aborted) return;
      if (error instanceof Problem && error.status < 500 && error.status !== 429) throw error;
      if ((failures += 1) > 8) throw error;
    }
    if (!done && !stop.aborted) await pause(Math.min(250 * 2 ** failures, 5000));
  }
}

/** Bytes that were written in base64. */
export function decoded(base64: string): Uint8Array<ArrayBuffer> {
  const text = atob(base64), made = new Uint8Array(text.length);
  for (let at = 0; at < text.length; at++) made[at] = text.charCodeAt(at);
  return made;
}

/** What `pyjail` packed: text, or bytes that are no text. */
export function unpacked(given: Packed | string | null | undefined): Uint8Array {
  if (given == null) return new Uint8Array();
  if (typeof given === "string") return new TextEncoder().encode(given);
  const base64 = given.base64;
  if (base64 !== undefined) return decoded(base64);
  return new TextEncoder().encode(given.bytes ?? given.text ?? "");
}
