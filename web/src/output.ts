/** The program's output: its last lines, drawn once per frame, as text and nothing else. */
import { Styled } from "./ansi.js";
import { byId, el } from "./dom.js";
import { bytes } from "./names.js";

const LINES = 5000;
const TEXT = 1 << 20; // characters that are kept,
const COLOURED = 4 * LINES; // and changes of colour: each is an element
const LINE = 8192; // longer ones go on below
const BLOCK = 50; // lines that a browser lays out together,
const BLOCK_TEXT = 1 << 13; // unless they are long ones
const PIECES = 2 * LINES; // of two streams in turn, that wait to be drawn: a page in the background draws nothing
const BUDGET = 6; // milliseconds of a frame,
const ROWS = 300; // and lines that are new in it: to lay them out takes longer than to make them
const PART = 1024; // characters that are taken between two looks at the clock

type Kind = "o" | "e" | "m";
interface Piece { kind: Kind; text: string; ends: number; changes: number }

export class Output {
  private readonly place = byId("output");
  private styles: Record<Kind, Styled> = { o: new Styled(), e: new Styled(), m: new Styled() };
  private pending: Piece[] = [];
  private waiting = 0; // characters of `pending`,
  private ends = 0; // lines that end in it
  private changes = 0; // and changes of colour
  private blocks: { node: HTMLElement; lines: number; text: number; spans: number }[] = [];
  private lines = 0;
  private spans = 0;
  private made = 0; // lines and what is coloured in them, ever
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
    this.waiting = this.ends = this.changes = this.spans = this.lines = this.text = this.dropped = this.written.o = this.written.e = 0;
    this.count();
  }

  add(kind: Kind, text: string, size = text.length): void {
    if (!text) return;
    if (kind !== "m") this.written[kind] += size;
    const last = this.pending.at(-1), ends = times(text, "\n"), changes = times(text, "\x1b");
    if (last?.kind === kind && last.text.length < LINE) last.text += text, last.ends += ends, last.changes += changes;
    else this.pending.push({ kind, text, ends, changes });
    this.waiting += text.length;
    this.ends += ends;
    this.changes += changes;
    while (this.pending.length > 1 && this.over(this.pending[0]!)) {
      const lost = this.pending.shift()!;
      this.waiting -= lost.text.length;
      this.ends -= lost.ends;
      this.changes -= lost.changes;
      this.dropped += lost.text.length;
    }
    this.soon();
  }

  /** Whether the first of what waits would be gone before it is seen. */
  private over(first: Piece): boolean {
    return this.waiting > TEXT || this.pending.length > PIECES || this.ends - first.ends > LINES || this.changes - first.changes > COLOURED;
  }

  /** Drawn in the next frame; until nothing waits, the place says that it is busy. */
  private soon(): void {
    if (this.drawn) return;
    this.drawn = true;
    this.place.ariaBusy = "true";
    requestAnimationFrame(() => this.draw());
  }

  say(text: string): void {
    this.add("m", text + "\n");
  }

  private draw(): void {
    this.drawn = false;
    const began = performance.now();
    const follow = this.place.scrollHeight - this.place.scrollTop - this.place.clientHeight < 40;
    const rows = this.made + ROWS;
    while (this.pending.length && this.made < rows && performance.now() - began < BUDGET) {
      const piece = this.pending[0]!;
      const part = piece.text.slice(0, PART), ends = times(part, "\n"), changes = times(part, "\x1b");
      if (part.length === piece.text.length) this.pending.shift();
      else piece.text = piece.text.slice(PART), piece.ends -= ends, piece.changes -= changes;
      this.waiting -= part.length;
      this.ends -= ends;
      this.changes -= changes;
      this.take(piece.kind, part);
    }
    this.paint();
    this.trim();
    this.count();
    if (follow) this.place.scrollTop = this.place.scrollHeight;
    if (this.pending.length) this.soon();
    else this.place.ariaBusy = "false";
  }

  private take(kind: Kind, text: string): void {
    const parts = text.split("\n");
    parts.forEach((part, at) => {
      if (part) this.extend(kind, part);
      if (at < parts.length - 1) this.end(kind);
    });
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
      block = { node: el("div", { class: "block" }), lines: 0, text: 0, spans: 0 };
      this.blocks.push(block);
      this.place.append(block.node);
    }
    const node = el("div", { class: kind === "o" ? undefined : kind });
    block.node.append(node);
    block.lines += 1;
    this.lines += 1;
    this.made += 1;
    return { kind, raw: "", node, shown: 0 };
  }

  private end(kind: Kind): void {
    const open = this.open ?? this.begin(kind);
    this.open = null;
    this.fill(open, this.styles[kind].line(open.raw.replace(/\r+$/, "")));
    const block = this.blocks.at(-1)!;
    block.text += open.raw.length;
    this.text += open.raw.length;
    block.spans += open.node.childElementCount;
    this.spans += open.node.childElementCount;
    if (this.lines > LINES + BLOCK || this.text > TEXT || this.spans > COLOURED) this.trim();
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
    this.made += spans.length >> 1;
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
    while (this.blocks.length > 1 && (this.lines - this.blocks[0]!.lines >= LINES || this.text > TEXT || this.spans > COLOURED)) {
      const gone = this.blocks.shift()!;
      gone.node.remove();
      this.lines -= gone.lines;
      this.text -= gone.text;
      this.spans -= gone.spans;
      this.dropped += gone.text;
    }
  }

  private count(): void {
    const all = this.written.o + this.written.e;
    byId("counts").textContent = all ? `${bytes(all)} written${this.dropped ? ", the end is shown" : ""}` : "";
  }
}

function times(text: string, what: string): number {
  let found = 0;
  for (let at = text.indexOf(what); at >= 0; at = text.indexOf(what, at + 1)) found += 1;
  return found;
}
