/** A request, as it is sent, and as people would send it. */
import { MAIN } from "./examples.js";
import type { Program } from "./share.js";

/** The body of `POST /v1/runs`. */
export function body(program: Program, limits: Record<string, number>): Record<string, unknown> {
  const [main, ...others] = program.files;
  const made: Record<string, unknown> = { language: program.language,
    source: main!.name === MAIN[program.language] ? main!.text : { [main!.name]: main!.text } };
  if (others.length) made.files = Object.fromEntries(others.map((file) => [file.name, file.text]));
  const args = split(program.args), collect = split(program.collect);
  if (program.language === "python") made.env = { PYTHONUNBUFFERED: "1" }; // or it keeps what it prints until its end
  if (args.length) made.args = args;
  if (program.stdin) made.stdin = program.stdin;
  if (collect.length) made.collect = collect;
  if (Object.keys(limits).length) made.limits = limits;
  return made;
}

/** Words as a shell splits them: quotes and backslashes, nothing else. Raises RangeError. */
export function split(text: string): string[] {
  const words: string[] = [];
  const rest = text.replace(/\s*((?:[^\s"'\\]|\\[^]|'[^']*'|"(?:[^"\\]|\\[^])*")+)/g, (_, word: string) => {
    words.push(word.replace(/'([^']*)'|"((?:[^"\\]|\\[^])*)"|\\([^])/g, (_all, single?: string, double?: string, one?: string) =>
      single ?? (double !== undefined ? double.replace(/\\(["\\$`])/g, "$1") : one!)));
    return "";
  });
  if (rest.trim()) throw new RangeError("a quotation mark has no partner");
  return words;
}

const quoted = (text: string): string => `'${text.replaceAll("'", "'\\''")}'`;

export function curl(url: string, sent: object, token: boolean): string {
  const lines = [`curl -sS ${quoted(url)}`, `-H 'Content-Type: application/json'`];
  if (token) lines.push(`-H "Authorization: Bearer $PYJAIL_TOKEN"`);
  lines.push(`--data-binary ${quoted(JSON.stringify(sent))}`);
  return lines.join(" \\\n  ");
}

/** A literal of Python. JSON's strings are Python's, but for characters beyond 16 bits. */
function literal(value: unknown, indent = "    "): string {
  if (typeof value === "string") {
    return JSON.stringify(value).replace(/[\u007f-\u009f\ud800-\udfff\u2028\u2029]/g, (c) => {
      const code = c.charCodeAt(0);
      return code >= 0xd800 && code <= 0xdfff ? c : `\\u${code.toString(16).padStart(4, "0")}`;
    });
  }
  if (value === null || value === undefined) return "None";
  if (typeof value === "boolean") return value ? "True" : "False";
  if (Array.isArray(value)) return `[${value.map((item) => literal(item, indent)).join(", ")}]`;
  if (typeof value === "object") {
    const inner = indent + "    ";
    const rows = Object.entries(value).map(([name, item]) => `${inner}${literal(name)}: ${literal(item, inner)},\n`);
    return `{\n${rows.join("")}${indent}}`;
  }
  return String(value);
}

export function python(url: string, sent: object, token: boolean): string {
  const auth = token ? `, "Authorization": "Bearer " + os.environ["PYJAIL_TOKEN"]` : "";
  return `import json\n${token ? "import os\n" : ""}import urllib.request\n\nwanted = ${literal(sent, "")}\n`
    + `request = urllib.request.Request(\n    ${literal(url)},\n    data=json.dumps(wanted).encode(),\n`
    + `    headers={"Content-Type": "application/json"${auth}},\n)\n`
    + `told = json.load(urllib.request.urlopen(request))\nresult = told["result"] or told["compile"]\nprint(result["verdict"])\nprint(result["stdout"].get("bytes"), end="")\n`;
}
