/** A program as a link: packed into the fragment, which browsers keep to themselves. */
import { deflateSync, Inflate, strFromU8, strToU8 } from "fflate";
import { allowed } from "./names.js";

export interface Program { language: string; files: { name: string; text: string }[]; stdin: string; args: string; collect: string; limits: Record<string, string> }

const MOST = 1 << 20; // bytes that a link may unfold into

export function packed(program: Program): string {
  let text = "";
  for (const byte of deflateSync(strToU8(JSON.stringify(program)), { level: 9 })) text += String.fromCharCode(byte);
  return btoa(text).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
}

export function unpackedProgram(fragment: string): Program | null {
  try {
    const raw = atob(fragment.replaceAll("-", "+").replaceAll("_", "/"));
    const parts: Uint8Array[] = [];
    let size = 0;
    const inflate = new Inflate((chunk) => {
      if ((size += chunk.length) > MOST) throw new RangeError("too large");
      parts.push(chunk);
    });
    for (let at = 0; at < raw.length; at += 512) { // small steps: what unfolds is seen before it is large
      inflate.push(Uint8Array.from(raw.slice(at, at + 512), (c) => c.charCodeAt(0)), at + 512 >= raw.length);
    }
    const whole = new Uint8Array(size);
    let at = 0;
    for (const part of parts) { whole.set(part, at); at += part.length; }
    return program(JSON.parse(strFromU8(whole)));
  } catch {
    return null;
  }
}

/** `given` as a program, or null: it comes from strangers. */
export function program(given: unknown): Program | null {
  if (!given || typeof given !== "object") return null;
  const it = given as Record<string, unknown>;
  const text = (value: unknown, most = 1 << 19): string => typeof value === "string" && value.length <= most ? value : "";
  const files = (Array.isArray(it.files) ? it.files : []).slice(0, 20).map((f: unknown) => {
    const file = f as Record<string, unknown> | null;
    return { name: text(file?.name, 200), text: text(file?.text) };
  }).filter((file, at, all) => allowed(file.name) && all.findIndex((f) => f.name === file.name) === at);
  if (!files.length) return null;
  const limits: Record<string, string> = {};
  for (const [name, value] of Object.entries((it.limits ?? {}) as object).slice(0, 20)) {
    if (/^[a-z_]+$/.test(name) && /^[0-9.]{1,12}[KMG]?$/.test(String(value))) limits[name] = String(value);
  }
  return { language: text(it.language, 40), files, stdin: text(it.stdin), args: text(it.args, 4000), collect: text(it.collect, 2000), limits };
}
