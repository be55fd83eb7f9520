/** Controls of limits: what the service gives by itself, and at most. */
import type { Limits } from "./api.js";
import { byId, el } from "./dom.js";
import { bytes } from "./names.js";

const SHOWN: [string, string, "s" | "MiB" | ""][] = [
  ["cpu_time", "CPU time", "s"], ["wall_time", "Time on the clock", "s"], ["memory", "Memory", "MiB"],
  ["processes", "Processes", ""], ["output", "Output", "MiB"], ["disk", "Disk", "MiB"], ["cpus", "CPUs", ""],
];

export class Bounds {
  private readonly inputs = new Map<string, HTMLInputElement>();
  private values: Record<string, string> = {}; // also those that have no control, or not yet

  constructor(readonly defaults: Limits, readonly maxima: Limits) {
    for (const [name, label, unit] of SHOWN) {
      const usual = defaults[name], most = maxima[name];
      if (usual == null && most == null) continue;
      const told = (n: number): string => unit === "MiB" ? bytes(n) : `${n}${unit ? " " + unit : ""}`;
      const scale = unit === "MiB" ? 1 << 20 : 1;
      const input = el("input", { type: "number", name, min: unit === "s" || name === "cpus" ? 0.1 : 1, step: unit === "s" || name === "cpus" ? 0.1 : 1,
        max: most == null ? undefined : most / scale, placeholder: usual == null ? "none" : String(usual / scale) });
      this.inputs.set(name, input);
      byId("limit-fields").append(el("label", {}, unit ? `${label}, ${unit}` : label, input,
        el("small", {}, most == null ? "" : `at most ${told(most)}`)));
    }
  }

  set(values: Record<string, string>): void {
    this.values = { ...values };
    for (const [name, input] of this.inputs) input.value = values[name] ?? "";
    byId<HTMLDetailsElement>("limits").open ||= Object.keys(values).length > 0;
  }

  /** As typed; "" where nothing is. */
  get(): Record<string, string> {
    const others = Object.entries(this.values).filter(([name]) => !this.inputs.has(name));
    return Object.fromEntries([...others, ...[...this.inputs].filter(([, input]) => input.value !== "").map(([name, input]) => [name, input.value] as [string, string])]);
  }

  /** As the service wants them. Raises RangeError, which says what is wrong. */
  asked(): Record<string, number> {
    const asked: Record<string, number> = {};
    for (const [name, label, unit] of SHOWN) {
      const input = this.inputs.get(name);
      if (!input || (input.value === "" && !input.validity.badInput)) continue;
      const value = Number(input.value);
      if (input.validity.badInput || !(value > 0)) throw new RangeError(`${label}: a number above 0 is needed`);
      if (input.max && value > Number(input.max)) throw new RangeError(`${label}: at most ${input.max} ${unit}`);
      asked[name] = unit === "MiB" ? Math.round(value * (1 << 20)) : unit === "s" || name === "cpus" ? value : Math.round(value);
    }
    return asked;
  }
}
