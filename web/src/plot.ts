/** What a run uses: gauges, and memory and CPU over time. */
import uPlot from "uplot";
import type { Limits, Result } from "./api.js";
import { byId, el } from "./dom.js";
import { bytes, seconds } from "./names.js";

const POINTS = 2000;
interface Gauge { meter: HTMLMeterElement; text: HTMLElement }

const number = (data: Record<string, unknown>, ...names: string[]): number | null => {
  for (const name of names) if (typeof data[name] === "number") return data[name] as number;
  return null;
};

export class Meters {
  private readonly gauges: Record<string, Gauge> = {};
  private times: number[] = [];
  private memory: (number | null)[] = [];
  private cpu: (number | null)[] = [];
  private before: { at: number; cpu: number } | null = null;
  private plot: uPlot | null = null;
  private limits: Limits = {};
  private peak = 0;

  constructor() {
    for (const [name, label] of [["cpu_time", "CPU"], ["wall_time", "Clock"], ["memory", "Memory"], ["processes", "Processes"]] as const) {
      const meter = el("meter", { min: 0, max: 1, high: 0.9, optimum: 0.1, value: 0, "aria-label": `${label} of its limit` });
      const text = el("span", {}, "\u2013");
      this.gauges[name] = { meter, text };
      byId("gauges").append(el("label", { "data-gauge": name }, label, meter, text));
    }
    new ResizeObserver(() => this.draw()).observe(byId("view-usage"));
  }

  start(limits: Limits): void {
    this.limits = limits;
    this.times = []; this.memory = []; this.cpu = [];
    this.before = null; this.peak = 0;
    for (const name of Object.keys(this.gauges)) this.gauge(name, null);
    byId("usage-text").textContent = "";
    this.draw();
  }

  sample(data: Record<string, unknown>, since: number): void {
    const at = number(data, "wall_time", "at", "t") ?? since;
    const cpu = number(data, "cpu_time", "cpu");
    const memory = number(data, "memory", "memory_now", "memory_peak");
    this.gauge("wall_time", at); this.gauge("cpu_time", cpu); this.gauge("memory", memory);
    this.gauge("processes", number(data, "processes", "processes_now", "processes_peak"));
    if (this.times.length && at <= this.times.at(-1)!) return;
    const used = cpu !== null && this.before && at > this.before.at ? Math.max(0, (cpu - this.before.cpu) / (at - this.before.at) * 100) : null;
    if (cpu !== null) this.before = { at, cpu };
    this.times.push(at); this.memory.push(memory === null ? null : memory / (1 << 20)); this.cpu.push(used);
    if (memory !== null) this.peak = Math.max(this.peak, memory);
    if (this.times.length > POINTS) for (const list of [this.times, this.memory, this.cpu]) list.splice(0, POINTS / 2);
    this.draw();
  }

  end(result: Result): void {
    const u = result.usage;
    this.limits = { ...this.limits, ...result.limits };
    if (typeof u.wall_time === "number") {
      this.sample({ wall_time: u.wall_time, cpu_time: u.cpu_time, memory_peak: this.times.length ? undefined : u.memory_peak }, u.wall_time);
    }
    this.gauge("cpu_time", u.cpu_time ?? null); this.gauge("wall_time", u.wall_time ?? null);
    this.gauge("memory", u.memory_peak ?? null); this.gauge("processes", u.processes_peak ?? null);
    const parts = [u.wall_time != null && `${seconds(u.wall_time)} on the clock`, u.cpu_time != null && `${seconds(u.cpu_time)} of CPU time`,
      u.memory_peak != null && `at most ${bytes(u.memory_peak)} of memory`, u.processes_peak != null && `${u.processes_peak === 1 ? "one process" : `at most ${u.processes_peak} processes`}`,
      u.setup_time != null && `the jail was there after ${seconds(u.setup_time)}`];
    byId("usage-text").textContent = parts.filter(Boolean).join(", ") + ".";
  }

  private gauge(name: string, value: number | null): void {
    const gauge = this.gauges[name]!, most = this.limits[name];
    const told = (n: number): string => name === "memory" ? bytes(n) : name === "processes" ? String(n) : seconds(n);
    gauge.meter.value = value !== null && most ? Math.min(1, value / most) : 0;
    gauge.text.textContent = value === null ? "\u2013" : most ? `${told(value)} of ${told(most)}` : told(value);
  }

  draw(): void {
    const place = byId("plot");
    if (byId("view-usage").hidden || !place.clientWidth) return;
    const data = [this.times, this.memory, this.cpu] as uPlot.AlignedData;
    const size = { width: place.clientWidth, height: 230 };
    if (this.plot) { this.plot.setSize(size); this.plot.setData(data); return; }
    const style = getComputedStyle(document.documentElement);
    const colour = (name: string): string => style.getPropertyValue(name).trim();
    const axis = { stroke: colour("--soft"), grid: { stroke: colour("--line"), width: 0.5 }, ticks: { stroke: colour("--line") } };
    this.plot = new uPlot({ ...size, legend: { show: false }, cursor: { show: false },
      scales: { x: { time: false, range: (_, low, high) => [low ?? 0, Math.max(high ?? 1, (low ?? 0) + 0.1)] }, m: { range: (_, __, high) => [0, Math.max(high ?? 1, 1) * 1.1] }, c: { range: (_, __, high) => [0, Math.max(high ?? 1, 100) * 1.1] } },
      axes: [{ ...axis, label: "seconds" }, { ...axis, scale: "m", label: "memory, MiB", size: 56 }, { ...axis, scale: "c", side: 1, label: "CPU, % (dashed)", grid: { show: false } }],
      series: [{}, { scale: "m", stroke: colour("--f"), width: 2, spanGaps: true }, { scale: "c", stroke: colour("--n"), width: 2, dash: [6, 4], spanGaps: true }],
    }, data, place);
  }

  /** In the colours of another theme. */
  redraw(): void {
    this.plot?.destroy();
    this.plot = null;
    byId("plot").replaceChildren();
    this.draw();
  }
}
