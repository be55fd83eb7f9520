/** The editor: CodeMirror, its languages loaded when they are wanted. */
import { defaultKeymap, history, historyKeymap, indentWithTab } from "@codemirror/commands";
import { bracketMatching, HighlightStyle, indentOnInput, indentUnit, StreamLanguage, syntaxHighlighting } from "@codemirror/language";
import { Compartment, EditorState, type Extension } from "@codemirror/state";
import { drawSelection, EditorView, highlightActiveLine, highlightSpecialChars, keymap, lineNumbers } from "@codemirror/view";
import { tags } from "@lezer/highlight";
import { byId, nonce } from "./dom.js";
import { shown } from "./names.js";

type Loader = () => Promise<Extension>;
const LOADERS: Record<string, Loader> = {
  python: async () => (await import("@codemirror/lang-python")).python(),
  c: async () => (await import("@codemirror/lang-cpp")).cpp(),
  cpp: async () => (await import("@codemirror/lang-cpp")).cpp(),
  rust: async () => (await import("@codemirror/lang-rust")).rust(),
  go: async () => (await import("@codemirror/lang-go")).go(),
  java: async () => (await import("@codemirror/lang-java")).java(),
  javascript: async () => (await import("@codemirror/lang-javascript")).javascript(),
  typescript: async () => (await import("@codemirror/lang-javascript")).javascript({ typescript: true }),
  php: async () => (await import("@codemirror/lang-php")).php(),
  kotlin: async () => StreamLanguage.define((await import("@codemirror/legacy-modes/mode/clike")).kotlin),
  csharp: async () => StreamLanguage.define((await import("@codemirror/legacy-modes/mode/clike")).csharp),
  ruby: async () => StreamLanguage.define((await import("@codemirror/legacy-modes/mode/ruby")).ruby),
  perl: async () => StreamLanguage.define((await import("@codemirror/legacy-modes/mode/perl")).perl),
  bash: async () => StreamLanguage.define((await import("@codemirror/legacy-modes/mode/shell")).shell),
};

const STYLE = HighlightStyle.define([
  { tag: [tags.keyword, tags.modifier, tags.operatorKeyword], color: "var(--k)" },
  { tag: [tags.string, tags.special(tags.string), tags.regexp], color: "var(--s)" },
  { tag: [tags.number, tags.bool, tags.null, tags.atom], color: "var(--n)" },
  { tag: [tags.comment, tags.meta], color: "var(--c)", fontStyle: "italic" },
  { tag: [tags.function(tags.variableName), tags.definition(tags.variableName), tags.typeName, tags.className], color: "var(--f)" },
]);

const THEME = EditorView.theme({
  "&": { color: "var(--text)", backgroundColor: "var(--bg)", fontSize: "13px" },
  ".cm-scroller": { fontFamily: "var(--mono)", lineHeight: "1.45" },
  ".cm-content": { caretColor: "var(--text)" },
  ".cm-cursor": { borderLeftColor: "var(--text)" },
  ".cm-gutters": { color: "var(--soft)", backgroundColor: "var(--panel)", border: "none" },
  ".cm-activeLine, .cm-activeLineGutter": { backgroundColor: "transparent" },
  "&.cm-focused .cm-selectionBackground, .cm-selectionBackground": { backgroundColor: "var(--sel) !important" },
  "&.cm-focused .cm-matchingBracket": { backgroundColor: "var(--sel)" },
});

export class Editor {
  private readonly language = new Compartment();
  private readonly view: EditorView;
  private mode: Extension = [];
  private wanted = "";

  constructor(private readonly changed: () => void, leave: () => void) {
    this.view = new EditorView({ parent: byId("editor"), state: this.state("", leave) });
    this.leave = leave;
  }
  private readonly leave: () => void;

  private state(text: string, leave: () => void, name = "the program"): EditorState {
    return EditorState.create({ doc: text, extensions: [
      EditorView.cspNonce.of(nonce()), lineNumbers(), highlightSpecialChars(), history(), drawSelection(), indentOnInput(),
      bracketMatching(), highlightActiveLine(), indentUnit.of("    "), syntaxHighlighting(STYLE), THEME,
      this.language.of(this.mode),
      EditorView.contentAttributes.of({ "aria-label": `Text of ${shown(name)}; Escape leaves it`, spellcheck: "false", tabindex: "0" }),
      keymap.of([
        { key: "Escape", run: () => { leave(); return true; } }, { key: "Mod-Enter", run: () => true },
        indentWithTab, ...defaultKeymap, ...historyKeymap,
      ]),
      EditorView.updateListener.of((update) => { if (update.docChanged) this.changed(); }),
    ] });
  }

  /** Show another text; what was undone in the one before stays with that. */
  show(text: string, name: string): void {
    this.view.setState(this.state(text, this.leave, name));
  }

  text(): string {
    return this.view.state.doc.toString();
  }

  focus(): void {
    this.view.focus();
  }

  async speak(language: string): Promise<void> {
    this.wanted = language;
    const mode = await (LOADERS[language] ?? (async () => []))();
    if (this.wanted !== language) return;
    this.mode = mode;
    this.view.dispatch({ effects: this.language.reconfigure(mode) });
  }
}
