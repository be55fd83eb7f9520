/** The program's output: its last lines, drawn once per frame, as text and nothing else. */
import { Styled } from "./ansi.js";
import { byId, el } from "./dom.js";
import { bytes } from "./names.js";

const LINES = 5000;
const TEXT = 1 << 20; // characters that are kept
const LINE = 8192; // longer ones go on below
const BLOCK = 250; // lines that a browser lays out together,
const BLOCK_TEXT = 1 << 16; // unless they are long ones
const PIECES = 2 * LINES; // of two streams in turn, that wait to be drawn: a page in the background draws nothing
const BUDGET = 8; // milliseconds of a frame

type Kind = "o" | "e" | "m";
interface Piece { kind: Kind; text: string }

export class Output {
  private readonly place = byId("output");
  private styles: Record<Kind, Styled> = { o: new Styled(), e: new Styled(), m: new Styled() };
  private pending: Piece[] = [];
  private waiting = 0; // characters of `pending`
  private blocks: { node: HTMLElement; lines: number; text: number }[] = [];
  private lines = 0;
  private text = 0;
  private dropped = 0;
  private drawn = false;
  private open: { kind: Kind; raw: string; node: HTMLElement; shown: number } | null = null;
  readonly written = { o: 0, e: 0 };

  constructor() {
    byId("clear").onclick = () => this.clear();
  }

  clear(): void {
    this.place.replaceChildren();
    this.styles = { o: new Styled(), e: new Styled(), m: new Styled() };
    this.pending = []; this.blocks = []; this.open = null;
    this.waiting = this.lines = this.text = this.dropped = this.written.o = this.written.e = 0;
    this.count();
  }

  add(kind: Kind, text: string, size = text.length): void {
    if (!text) return;
    if (kind !== "m") this.written[kind] += size;
    const last = this.pending.at(-1);
    if (last?.kind === kind && last.text.length < LINE) last.text += text;
    else this.pending.push({ kind, text });
    this.waiting += text.length;
    while ((this.waiting > TEXT || this.pending.length > PIECES) && this.pending.length > 1) { // would never be seen
      const lost = this.pending.shift()!.text.length;
      this.waiting -= lost;
      this.dropped += lost;
    }
    if (!this.drawn) {
      this.drawn = true;
      requestAnimationFrame(() => this.draw());
    }
  }

  say(text: string): void {
    this.add("m", text + "\n");
  }

  private draw(): void {
    this.drawn = false;
    const began = performance.now();
    const follow = this.place.scrollHeight - this.place.scrollTop - this.place.clientHeight < 40;
    while (this.pending.length && performance.now() - began < BUDGET) {
      const piece = this.pending[0]!;
      const part = piece.text.slice(0, LINE);
      if (part.length === piece.text.length) this.pending.shift();
      else piece.text = piece.text.slice(LINE);
      this.waiting -= part.length;
      this.take(piece.kind, part);
    }
    this.trim();
    this.count();
    if (follow) this.place.scrollTop = this.place.scrollHeight;
    if (this.pending.length && !this.drawn) {
      this.drawn = true;
      requestAnimationFrame(() => this.draw());
    }
  }

  private take(kind: Kind, text: string): void {
    const parts = text.split("\n");
    parts.forEach((part, at) => {
      if (part) this.extend(kind, part);
      if (at < parts.length - 1) this.end(kind);
    });
    this.paint();
  }

  private extend(kind: Kind, part: string): void {
    if (this.open && this.open.kind !== kind) this.end(this.open.kind);
    const open = this.open ??= this.begin(kind);
    open.raw += part;
    if (open.raw.length > LINE) this.end(kind);
  }

  private begin(kind: Kind): NonNullable<Output["open"]> {
    let block = this.blocks.at(-1);
    if (!block || block.lines >= BLOCK || block.text >= BLOCK_TEXT) {
      block = { node: el("div", { class: "block" }), lines: 0, text: 0 };
      this.blocks.push(block);
      this.place.append(block.node);
    }
    const node = el("div", { class: kind === "o" ? undefined : kind });
    block.node.append(node);
    block.lines += 1;
    this.lines += 1;
    return { kind, raw: "", node, shown: 0 };
  }

  private end(kind: Kind): void {
    const open = this.open ?? this.begin(kind);
    this.open = null;
    this.fill(open, this.styles[kind].line(open.raw.replace(/\r+$/, "")));
    const block = this.blocks.at(-1)!;
    block.text += open.raw.length;
    this.text += open.raw.length;
    if (this.lines > LINES + BLOCK || this.text > TEXT) this.trim();
  }

  /** The line that is not yet ended, with the colours that it has until now. */
  private paint(): void {
    if (!this.open || this.open.shown === this.open.raw.length) return;
    this.open.shown = this.open.raw.length;
    const now = Object.assign(new Styled(), this.styles[this.open.kind]);
    this.fill(this.open, now.line(this.open.raw));
  }

  private fill(open: NonNullable<Output["open"]>, spans: ReturnType<Styled["line"]>): void {
    if (!spans.length) { open.node.textContent = "\u200b"; return; }
    open.node.replaceChildren(...spans.map((span) => {
      if (!span.classes && !span.fg && !span.bg) return document.createTextNode(span.text);
      const made = el("span", { class: span.classes });
      made.textContent = span.text;
      if (span.fg) made.style.color = span.fg;
      if (span.bg) made.style.backgroundColor = span.bg;
      return made;
    }));
  }

  private trim(): void {
    while (this.blocks.length > 1 && (this.lines - this.blocks[0]!.lines >= LINES || this.text > TEXT)) {
      const gone = this.blocks.shift()!;
      gone.node.remove();
      this.lines -= gone.lines;
      this.text -= gone.text;
      this.dropped += gone.text;
    }
  }

  private count(): void {
    const all = this.written.o + this.written.e;
    byId("counts").textContent = all ? `${bytes(all)} written${this.dropped ? ", the end is shown" : ""}` : "";
  }
}
