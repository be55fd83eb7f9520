/** What this browser keeps: programs that were run, and how the page looks. */
import { dialog, el } from "./dom.js";
import { shown } from "./names.js";
import { program, type Program } from "./share.js";

const HISTORY = "pyjail.history", THEME = "pyjail.theme", DRAFT = "pyjail.draft";
const MOST = 30, LARGE = 100_000;

interface Past { when: number; verdict: string; program: Program }

function read(): Past[] {
  try {
    const rows = JSON.parse(localStorage.getItem(HISTORY) ?? "[]") as Past[];
    return rows.filter((row) => program(row.program)).slice(0, MOST);
  } catch {
    return [];
  }
}

function write(name: string, value: unknown, storage = localStorage): void {
  try { storage.setItem(name, JSON.stringify(value)); } catch { /* it is full, or forbidden: nothing depends on it */ }
}

export function remember(past: Program, verdict: string): void {
  if (JSON.stringify(past).length > LARGE) return;
  write(HISTORY, [{ when: Date.now(), verdict, program: past }, ...read()].slice(0, MOST));
}

export function showHistory(load: (program: Program) => void): void {
  const rows = read();
  const list = el("ul", {}, ...rows.map((row) => el("li", {},
    el("button", { onclick: () => { shownDialog.close(); load(program(row.program)!); } }, "Open"),
    el("span", {}, `${new Date(row.when).toLocaleString()}: ${shown(row.program.language)}, ${shown(row.verdict, 80)} `,
      el("code", {}, shown(row.program.files[0]!.text.trim().split("\n")[0] ?? "", 60))))));
  const clear = el("button", { onclick: () => { localStorage.removeItem(HISTORY); shownDialog.close(); } }, "Forget all");
  const shownDialog: HTMLDialogElement = dialog("History", rows.length ? list : el("p", {}, "Nothing was run here yet."), ...rows.length ? [clear] : []);
}

export function draft(): Program | null {
  try { return program(JSON.parse(sessionStorage.getItem(DRAFT) ?? "null")); } catch { return null; }
}

export const keepDraft = (now: Program): void => write(DRAFT, now, sessionStorage);

/** auto, light or dark; `changed` is told of each change. */
export function theme(select: HTMLSelectElement, changed: () => void): void {
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const apply = (): void => {
    const chosen = select.value === "auto" ? dark.matches : select.value === "dark";
    document.documentElement.toggleAttribute("data-dark", chosen);
    changed();
  };
  let kept: string | null = null;
  try { kept = localStorage.getItem(THEME); } catch { /* as new */ }
  select.value = kept === "light" || kept === "dark" ? kept : "auto";
  select.onchange = () => { try { localStorage.setItem(THEME, select.value); } catch { /* for now, then */ } apply(); };
  dark.addEventListener("change", apply);
  apply();
}
