// web/src -> DIRECTORY (first argument): files whose names have the hash of what is in them, and manifest.json, which
// lists them all. The same sources and the same packages give the same bytes.
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { basename, dirname, join, relative } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";

const here = dirname(fileURLToPath(import.meta.url));
const out = process.argv[2];
const TYPES = { ".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml", ".txt": "text/plain" };

const made = await build({
  absWorkingDir: here, entryPoints: { app: "src/main.ts" }, bundle: true, splitting: true, format: "esm", minify: true, target: "es2022",
  outdir: "out", write: false, metafile: true, entryNames: "[name]-[hash]", chunkNames: "chunk-[hash]", legalComments: "none",
  loader: { ".svg": "file" }, charset: "utf8",
});
const files = new Map(made.outputFiles.map((file) => [basename(file.path), Buffer.from(file.contents)]));

const hashed = (name, data) => {
  const [stem, end] = name.split(/(?=\.\w+$)/);
  const full = `${stem}-${createHash("sha256").update(data).digest("hex").slice(0, 8).toUpperCase()}${end}`;
  files.set(full, data);
  return full;
};
const icon = hashed("icon.svg", readFileSync(join(here, "src/icon.svg")));

// Whose work is in it, with its licence: of each package that a file came from.
const packages = new Map();
for (const path of Object.keys(made.metafile.inputs)) {
  const found = /^(.*node_modules\/((?:@[^/]+\/)?[^/]+))\//.exec(path);
  if (found) packages.set(found[2], join(here, found[1]));
}
const texts = [...packages].sort(([a], [b]) => (a < b ? -1 : 1)).map(([name, place]) => {
  const { version, license } = JSON.parse(readFileSync(join(place, "package.json"), "utf8"));
  const file = readdirSync(place).sort().find((one) => /^(licen[cs]e|copying)/i.test(one));
  return `${name} ${version}\nLicence: ${license}\n\n${file ? readFileSync(join(place, file), "utf8").trim() : "(its package has no text of it)"}\n`;
});
const licences = hashed("licences.txt", Buffer.from(`Third-party software in the playground.\n\n${texts.join(`\n${"-".repeat(72)}\n\n`)}`));

const entry = Object.entries(made.metafile.outputs).find(([, row]) => row.entryPoint === "src/main.ts");
const script = basename(entry[0]), style = basename(entry[1].cssBundle);
const page = readFileSync(join(here, "src/index.html"), "utf8")
  .replace("__ICON__", icon).replace("__STYLE__", style).replace("__SCRIPT__", script).replace("__LICENCES__", licences);

// All that comes before the page can be used.
const first = new Set([script, style, icon]);
const queue = [entry[0]];
while (queue.length) {
  for (const one of made.metafile.outputs[queue.pop()].imports) {
    if (one.kind === "import-statement" && !first.has(basename(one.path))) { first.add(basename(one.path)); queue.push(one.path); }
  }
}
const manifest = { page: "index.html", script, style, licences, first: [...first].sort(),
  files: Object.fromEntries([...files].sort(([a], [b]) => (a < b ? -1 : 1)).map(([name, data]) => [name, {
    type: TYPES[/\.\w+$/.exec(name)[0]], bytes: data.length, sha256: createHash("sha256").update(data).digest("hex") }])) };

if (existsSync(out)) rmSync(out, { recursive: true });
mkdirSync(out, { recursive: true });
for (const [name, data] of files) writeFileSync(join(out, name), data);
writeFileSync(join(out, "index.html"), page);
writeFileSync(join(out, "manifest.json"), JSON.stringify(manifest, null, 1) + "\n");
console.log(`${files.size} files in ${relative(process.cwd(), out) || out}`);
