/** Elements made of text and nodes alone: there is no way from a string to markup in this program. */

type Child = Node | string | null | undefined | false;
type Attributes = Record<string, string | number | boolean | EventListener | undefined>;

export function el<K extends keyof HTMLElementTagNameMap>(
  tag: K, attributes: Attributes = {}, ...children: Child[]
): HTMLElementTagNameMap[K] {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === undefined || value === false) continue;
    if (typeof value === "function") made.addEventListener(name.slice(2), value);
    else if (name === "class") made.className = String(value);
    else made.setAttribute(name, value === true ? "" : String(value));
  }
  for (const child of children) if (child) made.append(child);
  return made;
}

export function byId<T extends HTMLElement = HTMLElement>(id: string): T {
  return document.getElementById(id) as T;
}

/** Tabs as the ARIA practices have them: arrows move, one stop for the Tab key. */
export function tabs(list: HTMLElement, items: { id: string; label: string; panel?: string; title?: string }[],
  chosen: string, choose: (id: string) => void): void {
  const focused = list.contains(document.activeElement);
  list.replaceChildren(...items.map((item) => el("button", {
    role: "tab", "aria-selected": String(item.id === chosen), tabindex: item.id === chosen ? 0 : -1,
    "aria-controls": item.panel, title: item.title, "data-tab": item.id, onclick: () => choose(item.id),
  }, item.label)));
  list.onkeydown = (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step) return;
    event.preventDefault();
    const at = items.findIndex((item) => item.id === chosen);
    choose(items[(at + step + items.length) % items.length]!.id);
  };
  if (focused) list.querySelector<HTMLElement>("[aria-selected=true]")?.focus();
}

export function notice(text: string, kind = "note"): void {
  const box = byId("notices");
  const made = el("div", { "data-kind": kind }, el("p", {}, text),
    el("button", { onclick: () => made.remove() }, "Dismiss"));
  for (const old of [...box.children]) if (old.firstChild?.textContent === text) old.remove();
  box.append(made);
  while (box.children.length > 3) box.firstChild!.remove();
}

export function dialog(title: string, ...body: Node[]): HTMLDialogElement {
  const made = byId<HTMLDialogElement>("dialog");
  byId("dialog-title").textContent = title;
  byId("dialog-body").replaceChildren(...body);
  byId("dialog-close").onclick = () => made.close();
  if (!made.open) made.showModal();
  return made;
}

export async function copy(text: string, button: HTMLElement): Promise<void> {
  const said = button.textContent;
  try {
    await navigator.clipboard.writeText(text);
    button.textContent = "Copied";
  } catch {
    button.textContent = "Select and copy it by hand";
  }
  setTimeout(() => { button.textContent = said; }, 2000);
}

/** The nonce of this page's policy, for styles that libraries make. Markup cannot read it, scripts can. */
export function nonce(): string {
  return document.querySelector<HTMLLinkElement>("link[nonce]")?.nonce ?? "";
}
