/** What a program wrote -> lines of styled text. Colours stay; every other sequence of a terminal is gone. */
import Anser from "anser";

export interface Span { text: string; classes: string; fg: string; bg: string }

const SEQUENCES = /\x1b\[([0-9;:]*)m|(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]|(?:\x1b[\]PX^_]|[\x90\x98\x9d-\x9f])[^\x07\x1b\x9c]*(?:\x07|\x1b\\|\x9c|$)|\x1b[ -/]*[0-~]?/g;
const UNSEEN = /[\u0000-\u0008\u000b-\u001a\u001c-\u001f\u007f-\u009f]/g;
const DECEIVING = /[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\u2028\u2029]/g;
const CARRIED = 256; // characters of colours that reach from one line into the next

/** One stream's lines. */
export class Styled {
  private carry = "";

  line(raw: string): Span[] {
    let text = this.overwritten(raw).replace(SEQUENCES, (_, sgr: string | undefined) => sgr === undefined ? "" : `\x1b[${sgr.replaceAll(":", ";")}m`);
    text = text.replace(UNSEEN, (c) => c < " " ? String.fromCharCode(0x2400 + c.charCodeAt(0)) : c === "\x7f" ? "\u2421" : "\ufffd");
    text = text.replace(DECEIVING, (c) => `\u27e8U+${c.charCodeAt(0).toString(16).toUpperCase().padStart(4, "0")}\u27e9`);
    if (!this.carry && !text.includes("\x1b")) return text ? [{ text, classes: "", fg: "", bg: "" }] : [];
    const parts = Anser.ansiToJson(this.carry + text, { json: true, remove_empty: true, use_classes: true });
    for (const found of text.matchAll(/\x1b\[([0-9;]*)m/g)) {
      this.carry = /^(|0+|.*;0+)$/.test(found[1]!) && !/[34]8;/.test(found[1]!) ? "" : this.carry + found[0];
    }
    if (this.carry.length > CARRIED) this.carry = "";
    return parts.map(span).filter((part) => part.text);
  }

  /** As a terminal shows it in the end: what comes behind a carriage return stands over what was there. */
  private overwritten(raw: string): string {
    if (!raw.includes("\r")) return raw;
    const parts = raw.split("\r").filter((part) => part !== "");
    return parts.pop() ?? "";
  }
}

function span(part: Anser.AnserJsonEntry): Span {
  const classes = [colour("fg", part.fg), part.bg ? `${colour("bg", part.bg)} bgc` : "", ...part.decorations.filter((d) => d !== "blink")];
  if (part.decorations.includes("reverse")) classes.push("bg7 bgc");
  return { text: part.content, classes: classes.filter(Boolean).join(" "),
    fg: palette(part.fg, part.fg_truecolor), bg: palette(part.bg, part.bg_truecolor) };
}

const NAMES = ["black", "red", "green", "yellow", "blue", "magenta", "cyan", "white"];

function colour(kind: string, name: string | null): string {
  const at = NAMES.indexOf((name ?? "").replace(/^ansi-(bright-)?/, ""));
  return at < 0 ? "" : kind + at;
}

/** Colours by number: theirs as they are. */
function palette(name: string | null, rgb: string | null): string {
  if (rgb && /^\d+, ?\d+, ?\d+$/.test(rgb)) return `rgb(${rgb})`;
  const number = Number(/^ansi-palette-(\d+)$/.exec(name ?? "")?.[1] ?? NaN);
  if (!(number >= 16 && number < 256)) return "";
  if (number >= 232) { const grey = 8 + 10 * (number - 232); return `rgb(${grey}, ${grey}, ${grey})`; }
  const level = (n: number): number => n ? 55 + 40 * n : 0;
  const at = number - 16;
  return `rgb(${level(Math.floor(at / 36))}, ${level(Math.floor(at / 6) % 6)}, ${level(at % 6)})`;
}
