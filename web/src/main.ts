/** The page. */
import "@xterm/xterm/css/xterm.css";
import "uplot/dist/uPlot.min.css";
import "./style.css";
import * as api from "./api.js";
import { byId, copy, dialog, el, notice, tabs } from "./dom.js";
import { Editor } from "./editor.js";
import { type Example, FRIENDLY, hello, HELLO, HOSTILE, MAIN, programOf } from "./examples.js";
import * as kept from "./kept.js";
import { Bounds } from "./limits.js";
import { allowed, shown } from "./names.js";
import { Output } from "./output.js";
import { Meters } from "./plot.js";
import { body } from "./request.js";
import { Runner } from "./run.js";
import { packed, type Program, unpackedProgram } from "./share.js";
import { words } from "./verdict.js";
import * as views from "./views.js";

const language = byId<HTMLSelectElement>("language"), example = byId<HTMLSelectElement>("example");
const stdin = byId<HTMLTextAreaElement>("stdin"), args = byId<HTMLInputElement>("args"), collect = byId<HTMLInputElement>("collect");
const run = byId<HTMLButtonElement>("run"), stop = byId<HTMLButtonElement>("stop"), verdict = byId("verdict");
const EXAMPLES = new Map<string, Example>([...FRIENDLY, ...HOSTILE].map((one) => [one.id, one]));

let files: { name: string; text: string }[] = [{ name: "main.py", text: "" }];
let file = 0, chosen = "", ran: Program | null = null;
let limits = new Bounds({}, {});

const output = new Output(), meters = new Meters();
const editor = new Editor(() => { files[file]!.text = editor.text(); keep(); }, () => stdin.focus());
const runner = new Runner(output, meters, {
  state(text, running) {
    say(text, "run");
    run.disabled = running; stop.disabled = !running;
  },
  gone(text) { byId("gone").textContent = text; },
  ended(told, of) {
    run.disabled = false; stop.disabled = true;
    const found = words(told);
    say(found.text, found.kind);
    views.receipt((told.result ?? told.compile)?.receipt);
    views.collected(told.result);
    judge(told, EXAMPLES.get(of.expected));
    if (ran) kept.remember(ran, found.text);
  },
  failed(error) {
    run.disabled = false; stop.disabled = true;
    const forgotten = error instanceof api.Problem && error.status === 404;
    say(forgotten ? "The service does not know that run any more." : "It did not run.", "bad");
    if (!forgotten) failed(error, start);
  },
});

function say(text: string, kind: string): void {
  verdict.textContent = text;
  verdict.dataset.kind = kind;
}

function failed(error: unknown, again: () => void): void {
  if (error instanceof api.Problem && error.status === 401) askToken(again);
  else notice(error instanceof api.Problem ? shown(error.words(), 500) : "The service cannot be reached.", "error");
}

function askToken(again: () => void): void {
  const input = el("input", { type: "password", autocomplete: "off", "aria-label": "Token", id: "token" });
  const use = (): void => { api.keepToken(input.value.trim()); made.close(); again(); };
  input.onkeydown = (event) => { if (event.key === "Enter") { event.preventDefault(); use(); } };
  const made = dialog("This service wants a token", el("p", {}, api.token() ? "The one that was given is not accepted." : "Whoever runs it gives them out.",
    " It is kept until this tab is closed, and sent as a header to this server alone."), input, el("div", { class: "row" }, el("button", { class: "primary", onclick: use }, "Use it")));
  input.focus();
}

/** What the example's author expected, beside what came. */
function judge(told: api.Told, of: Example | undefined): void {
  const place = byId("expected");
  place.hidden = !of?.expected;
  if (!of?.expected) return;
  const rows = (told.result?.receipt ?? []).filter((row) => of.expected!.rows.includes(row.name));
  const came = told.result?.verdict ?? told.state ?? "";
  place.replaceChildren(el("strong", {}, of.title), ` Expected: ${of.expected.verdicts.join(" or ")}. ${of.expected.control}`,
    came ? el("span", { id: "met" }, ` It came to: ${shown(came)}${of.expected.verdicts.includes(came) ? ", as expected" : ""}.`) : "",
    rows.length ? ` Here: ${rows.map((row) => `${row.name} = ${shown(row.value)} (${shown(row.enforced_by)})`).join("; ")}.` : "");
}

function now(): Program {
  return { language: language.value, files: files.map((one) => ({ ...one })), stdin: stdin.value, args: args.value, collect: collect.value, limits: limits.get() };
}

function keep(): void {
  kept.keepDraft(now());
}

function load(program: Program, of = ""): void {
  chosen = of;
  example.value = of || "";
  files = program.files.map((one) => ({ ...one }));
  stdin.value = program.stdin; args.value = program.args; collect.value = program.collect;
  limits.set(program.limits);
  if ([...language.options].some((option) => option.value === program.language)) language.value = program.language;
  void editor.speak(language.value);
  open(0);
  judge({}, EXAMPLES.get(of));
  keep();
}

function open(at: number): void {
  file = at;
  editor.show(files[at]!.text, files[at]!.name);
  tabs(byId("files"), files.map((one, n) => ({ id: String(n), label: shown(one.name), panel: "editor" })), String(at), (id) => open(Number(id)));
  byId<HTMLButtonElement>("remove").disabled = files.length === 1;
}

function nameFile(title: string, name: string, use: (name: string) => void): void {
  const input = el("input", { value: name, "aria-label": "Name", spellcheck: "false", autocomplete: "off" });
  const why = el("p", { role: "status" });
  const take = (): void => {
    const wanted = input.value.trim();
    if (!allowed(wanted)) why.textContent = "A path below the program's directory is needed, of characters that can be seen.";
    else if (wanted !== name && files.some((one) => one.name === wanted)) why.textContent = "There is such a file.";
    else { made.close(); use(wanted); keep(); }
  };
  input.onkeydown = (event) => { if (event.key === "Enter") { event.preventDefault(); take(); } };
  const made = dialog(title, input, why, el("div", { class: "row" }, el("button", { class: "primary", onclick: take }, "Use it")));
  input.select();
}

function start(): void {
  if (runner.running || run.disabled) return;
  let bounds: Record<string, number>, sent: Record<string, unknown>;
  try {
    bounds = limits.asked();
    sent = body(now(), bounds);
  } catch (error) {
    byId<HTMLDetailsElement>("limits").open = true;
    notice((error as Error).message, "error");
    return;
  }
  ran = now();
  views.request(sent); views.receipt([]); views.collected(null);
  judge({}, EXAMPLES.get(chosen));
  if (document.activeElement === run) stop.disabled = false, stop.focus({ preventScroll: true });
  if (matchMedia("(max-width: 860px)").matches) byId("outcome").scrollIntoView();
  void runner.start(sent, { ...limits.defaults, ...bounds }, chosen).finally(() => {
    if (document.activeElement === document.body || document.activeElement === stop) run.focus({ preventScroll: true });
  });
}

const VIEWS = [["output", "Output"], ["usage", "Usage"], ["receipt", "Receipt"], ["request", "Request"], ["terminal", "Terminal"]] as const;
let terminal: { fit(): void } | null = null;

function view(id: string): void {
  tabs(byId("views"), VIEWS.map(([name, label]) => ({ id: name, label, panel: `view-${name}` })), id, view);
  for (const [name] of VIEWS) byId(`view-${name}`).hidden = name !== id;
  if (id === "usage") meters.draw();
  if (id === "request" && !ran) { try { views.request(body(now(), limits.asked())); } catch (error) { views.request((error as Error).message); } }
  if (id === "terminal" && !terminal) {
    void import("./terminal.js").then((made) => { terminal ??= made.open(byId("view-terminal")); });
  } else if (id === "terminal") terminal?.fit();
}

function help(): void {
  const keys: [string, string][] = [["Ctrl+Enter", "run"], ["Ctrl+.", "stop"], ["Esc", "leave the editor, close a dialog"],
    ["Tab", "in the editor: indent; elsewhere: go on"], ["Ctrl+Esc", "leave the terminal"], ["\u2190 \u2192", "on tabs: the next one"], ["?", "this help"]];
  dialog("Help", el("dl", {}, ...keys.flatMap(([key, does]) => [el("dt", {}, ...key.split("+").flatMap((one, at) => [at ? "+" : "", el("kbd", {}, one)])), el("dd", {}, does)])),
    el("p", {}, "Each program runs in a jail of its own on this server, without a network, and is gone with all that it left when it ends. The examples at the end attack it: beside each stands what has to stop it."));
}

function keys(event: KeyboardEvent): void {
  const writing = event.target instanceof Element && event.target.closest("input, textarea, select, .cm-editor, .xterm, dialog");
  if ((event.ctrlKey || event.metaKey) && event.key === "Enter") { event.preventDefault(); start(); }
  else if ((event.ctrlKey || event.metaKey) && event.key === ".") { event.preventDefault(); void runner.stop(); }
  else if (event.key === "?" && !writing) { event.preventDefault(); help(); }
}

function choices(): void {
  example.replaceChildren(el("option", { value: "" }, "\u2013"), el("option", { value: "hello" }, "Hello"),
    el("optgroup", { label: "Features" }, ...FRIENDLY.map((one) => el("option", { value: one.id }, one.title))),
    el("optgroup", { label: "Attacks" }, ...HOSTILE.map((one) => el("option", { value: one.id }, one.title))));
}

async function ask(): Promise<void> {
  try {
    const [there, bounds] = await Promise.all([api.languages(), api.limits()]);
    byId("limit-fields").replaceChildren();
    const set = limits.get(), before = language.value;
    limits = new Bounds(bounds.defaults, bounds.maxima);
    limits.set(set);
    language.replaceChildren(...there.map((one) => el("option", { value: one.name, disabled: !one.available, title: shown(one.reason || one.version) },
      `${shown(one.title)}${one.available ? "" : ` (${shown(one.reason || "not on this machine", 60)})`}`)));
    language.value = there.some((one) => one.name === before && one.available) ? before : there.find((one) => one.available)?.name ?? "";
  } catch (error) {
    failed(error, () => void begin());
  }
}

/** A program that came by a link is shown, never run by itself. */
function linked(): Program | null {
  const found = /^#s=([\w-]+)$/.exec(location.hash);
  if (!found) return null;
  history.replaceState(null, "", location.pathname + location.search);
  const program = unpackedProgram(found[1]!);
  notice(program ? "This program came with a link. Read it before you run it." : "The link has no program that can be read.");
  return program;
}

async function begin(): Promise<void> {
  load(linked() ?? kept.draft() ?? hello(language.value || "python"));
  void runner.resume();
  run.disabled = true; // until it is known what there is
  await ask();
  run.disabled = runner.running;
  void editor.speak(language.value);
}

for (const name of Object.keys(HELLO)) language.append(el("option", { value: name }, name));
choices();
view("output");
views.receipt([]);
open(0);
kept.theme(byId<HTMLSelectElement>("theme"), () => meters.redraw());
language.onchange = () => {
  const untouched = files.length === 1 && (!files[0]!.text.trim() || Object.values(HELLO).includes(files[0]!.text));
  if (untouched) load({ ...now(), files: hello(language.value).files });
  else {
    if (Object.values(MAIN).includes(files[0]!.name)) files[0]!.name = MAIN[language.value] ?? files[0]!.name;
    void editor.speak(language.value);
    open(file);
    keep();
  }
};
example.onchange = () => {
  const one = EXAMPLES.get(example.value);
  if (one) load(programOf(one), one.id);
  else if (example.value) load(hello(language.value), "");
};
for (const input of [stdin, args, collect, byId("limit-fields")]) input.addEventListener("input", keep);
run.onclick = start;
stop.onclick = () => void runner.stop();
byId("help").onclick = help;
byId("history").onclick = () => kept.showHistory(load);
byId("share").onclick = () => {
  const link = `${location.href.split("#")[0]}#s=${packed(now())}`;
  const button = el("button", { class: "primary", onclick: () => void copy(link, button) }, "Copy");
  dialog("Share", el("p", {}, "The program is in the link itself, behind the #: browsers do not send that to servers."),
    el("input", { value: link, readonly: true, "aria-label": "Link", id: "link" }), el("div", { class: "row" }, button));
};
byId("add").onclick = () => nameFile("Add a file", "", (name) => { files.push({ name, text: "" }); open(files.length - 1); editor.focus(); });
byId("rename").onclick = () => nameFile("Rename", files[file]!.name, (name) => { files[file]!.name = name; open(file); });
byId("remove").onclick = () => { if (files.length > 1) { files.splice(file, 1); open(Math.max(0, file - 1)); keep(); } };
addEventListener("keydown", keys);
addEventListener("hashchange", () => { const program = linked(); if (program) load(program); });
void begin();
