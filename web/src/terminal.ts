/** A terminal in a jail. Loaded when its tab is opened. */
import { FitAddon } from "@xterm/addon-fit";
import { Terminal } from "@xterm/xterm";
import { token } from "./api.js";
import { el, nonce } from "./dom.js";
import { split } from "./request.js";
import { shown } from "./names.js";

/** From now on styles that are made here have this page's nonce, and none is set by an attribute: xterm knows neither. */
function strict(): void {
  const create = document.createElement.bind(document);
  const made = (tag: string, options?: ElementCreationOptions): HTMLElement => {
    const element = create(tag, options);
    if (element instanceof HTMLStyleElement) element.nonce = nonce();
    else if (element instanceof HTMLSpanElement) {
      element.setAttribute = (name: string, value: string): void => {
        if (name === "style") element.style.cssText = value;
        else Element.prototype.setAttribute.call(element, name, value);
      };
    }
    return element;
  };
  document.createElement = made as typeof document.createElement;
}

export function open(place: HTMLElement): { fit(): void } {
  const command = el("input", { "aria-label": "Command", value: "/bin/bash", spellcheck: "false", autocomplete: "off" });
  const start = el("button", {}, "Start"), end = el("button", { disabled: true }, "End");
  const said = el("span", { role: "status" });
  const screen = el("div", { class: "screen" });
  place.replaceChildren(el("div", { class: "row" }, command, start, end, said), screen);

  strict();
  const terminal = new Terminal({ screenReaderMode: true, scrollback: 5000, fontSize: 13, linkHandler: { activate: () => undefined },
    fontFamily: getComputedStyle(document.documentElement).getPropertyValue("--mono") });
  for (const osc of [0, 1, 2, 8, 52]) terminal.parser.registerOscHandler(osc, () => true); // titles, links, the clipboard
  const fit = new FitAddon();
  terminal.loadAddon(fit);
  terminal.open(screen);
  terminal.attachCustomKeyEventHandler((event) => {
    if (event.type === "keydown" && event.key === "Escape" && event.ctrlKey) { start.focus(); command.focus(); return false; }
    return true;
  });

  let socket: WebSocket | null = null, begun = false;
  const text = new TextEncoder();
  const send = (value: object): void => { if (begun && socket?.readyState === WebSocket.OPEN) socket.send(JSON.stringify(value)); };
  const put = (data: string): void => { if (socket?.readyState === WebSocket.OPEN) socket.send(text.encode(data)); };
  terminal.onData(put);
  terminal.onBinary((data) => { if (socket?.readyState === WebSocket.OPEN) socket.send(Uint8Array.from(data, (c) => c.charCodeAt(0))); });
  terminal.onResize(({ cols, rows }) => send({ resize: [rows, cols] }));

  start.onclick = () => {
    let args: string[];
    try { args = split(command.value); } catch (error) { said.textContent = (error as Error).message; return; }
    const url = new URL("v1/terminal", location.href);
    url.protocol = url.protocol.replace("http", "ws");
    url.hash = "";
    const made = socket = new WebSocket(url);
    made.binaryType = "arraybuffer";
    terminal.reset();
    begun = false;
    start.disabled = true; end.disabled = false;
    said.textContent = "connecting";
    made.onopen = () => {
      fit.fit();
      begun = true;
      send({ token: token() || undefined, args, env: { TERM: "xterm-256color", HOME: "/box", PATH: "/usr/local/bin:/usr/bin:/bin" }, size: [terminal.rows, terminal.cols] });
      terminal.focus();
    };
    made.onmessage = (event) => {
      if (event.data instanceof ArrayBuffer) {
        const size = event.data.byteLength;
        terminal.write(new Uint8Array(event.data), () => send({ credit: size }));
        return;
      }
      let told: Record<string, unknown> = {};
      try { told = JSON.parse(String(event.data)) as Record<string, unknown>; } catch { /* not ours */ }
      const result = told.result as Record<string, unknown> | undefined;
      if (told.state === "running") said.textContent = "running";
      else if (result) said.textContent = `ended: ${shown(String(result.verdict ?? ""))}`;
      else if (told.detail) said.textContent = shown(String(told.detail), 200);
    };
    made.onclose = () => {
      if (socket !== made) return;
      socket = null;
      start.disabled = false; end.disabled = true;
      if (/^(connecting|running)$/.test(said.textContent ?? "")) said.textContent = said.textContent === "running" ? "ended" : "refused";
    };
  };
  end.onclick = () => socket?.close();
  const fitted = { fit: () => { if (screen.clientWidth) fit.fit(); } };
  new ResizeObserver(fitted.fit).observe(screen);
  return fitted;
}
