/** What strangers named, made safe to look at. */

const UNSEEN = /[\u0000-\u001f\u007f-\u009f\u00ad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\u{e0000}-\u{e0fff}]/gu;

/** `text` with each control, bidirectional and invisible character as its number, cut after `most`. */
export function shown(text: string, most = 120): string {
  const plain = text.replace(UNSEEN, (c) => `\u27e8U+${c.codePointAt(0)!.toString(16).toUpperCase().padStart(4, "0")}\u27e9`);
  return plain.length > most ? plain.slice(0, most) + "\u2026" : plain;
}

/** Whether a file of a program may be called so: below its directory, and to be read without being deceived. */
export function allowed(name: string): boolean {
  return name.length > 0 && name.length <= 200 && shown(name, 999) === name && !name.startsWith("/")
    && name.split("/").every((part) => part !== "" && part !== "." && part !== "..");
}

/** A name for a download: its last part. */
export function fileName(path: string): string {
  return shown(path.split("/").pop() || "file").replace(/[\\/:*?"<>|]/g, "_");
}

const UNITS = ["B", "KiB", "MiB", "GiB", "TiB"];

export function bytes(n: number): string {
  let at = 0;
  while (n >= 1024 && at < UNITS.length - 1) { n /= 1024; at += 1; }
  return `${at && n < 10 ? Number(n.toFixed(1)) : Math.round(n)} ${UNITS[at]}`;
}

export function seconds(n: number): string {
  return n < 0.9995 ? `${Math.round(n * 1000)} ms` : `${Number(n.toFixed(n < 10 ? 2 : 1))} s`;
}
