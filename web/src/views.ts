/** What is told of a run beside its output: receipt, request, files that came back. */
import type { Packed, Result, Row } from "./api.js";
import { token, unpacked } from "./api.js";
import { byId, copy, el } from "./dom.js";
import { bytes, fileName, shown } from "./names.js";
import { curl, python } from "./request.js";

export function receipt(rows: Row[] | undefined): void {
  const place = byId("view-receipt");
  if (!rows?.length) {
    place.replaceChildren(el("p", {}, "A run's receipt says what was asked for, and what on this machine enforces it."));
    return;
  }
  const head = el("tr", {}, ...["What", "Asked", "Enforced by", "Value", "Status"].map((name) => el("th", { scope: "col" }, name)));
  place.replaceChildren(el("table", {}, el("caption", {}, "What held this run"), el("thead", {}, head), el("tbody", {}, ...rows.map((row) =>
    el("tr", { "data-row": shown(row.name) }, el("th", { scope: "row" }, shown(row.name)),
      ...[row.asked, row.enforced_by, row.value, row.status.replaceAll("_", " ")].map((cell) => el("td", {}, shown(String(cell ?? ""), 400))))))));
}

export function request(sent: object | string): void {
  const place = byId("view-request");
  if (typeof sent === "string") { place.replaceChildren(el("p", {}, sent)); return; }
  const url = new URL("v1/runs", location.href.split("#")[0]).href;
  const parts: [string, string][] = [["As curl", curl(url, sent, token() !== "")], ["As Python", python(url, sent, token() !== "")],
    ["As JSON", JSON.stringify(sent, null, 2)]];
  place.replaceChildren(...parts.flatMap(([title, text]) => {
    const button = el("button", { onclick: () => void copy(text, button) }, "Copy");
    return [el("h2", {}, title), el("div", { class: "row" }, button), el("pre", { tabindex: 0, role: "region", "aria-label": title }, text)];
  }));
}

/** Files as downloads, and nothing else: none is opened here, whatever it says that it is. */
export function collected(result: Result | null | undefined): void {
  const rows = Object.entries(result?.files ?? {}).slice(0, 200).map(([path, data]) => {
    const content = unpacked(data);
    return el("li", {}, el("button", { "data-file": shown(path), onclick: () => download(path, content) },
      `Save ${shown(path)} (${bytes(content.length)})`));
  });
  const missed = Object.entries(result?.uncollected ?? {}).slice(0, 50).map(([path, why]) =>
    el("li", {}, `${shown(path)} did not come: ${shown(text(why), 200)}`));
  byId("collected").replaceChildren(...rows, ...missed);
}

const text = (value: Packed | string): string => new TextDecoder().decode(unpacked(value));

function download(path: string, content: Uint8Array): void {
  const url = URL.createObjectURL(new Blob([content as BlobPart], { type: "application/octet-stream" }));
  el("a", { href: url, download: fileName(path) }).click();
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
}
