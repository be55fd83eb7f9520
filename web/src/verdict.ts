/** What came of a run, in words. */
import type { Result, Told } from "./api.js";
import { bytes, seconds, shown } from "./names.js";

const SIGNALS: Record<number, string> = { 1: "SIGHUP", 2: "SIGINT", 3: "SIGQUIT", 4: "SIGILL", 6: "SIGABRT", 7: "SIGBUS",
  8: "SIGFPE", 9: "SIGKILL", 11: "SIGSEGV", 13: "SIGPIPE", 15: "SIGTERM", 24: "SIGXCPU", 25: "SIGXFSZ", 31: "SIGSYS" };

export interface Words { kind: "ok" | "bad" | "limit" | "run"; text: string }

export function words(told: Told): Words {
  if (told.state === "cancelled") return { kind: "bad", text: "Stopped by you." };
  if (told.state === "lost") return { kind: "bad", text: `Lost: ${shown(told.reason || "the service was ended while it ran", 200)}.` };
  if (told.problem) return { kind: "bad", text: `It did not run: ${shown([told.problem.field, told.problem.detail].filter(Boolean).join(": "), 300)}` };
  if (!told.result) {
    if (told.compile) return { kind: "bad", text: `It did not compile: ${of(told.compile).text}` };
    return { kind: "bad", text: told.fault ? `Nothing ran: ${shown(told.fault, 300)}` : "Nothing ran." };
  }
  return of(told.result);
}

function of(r: Result): Words {
  const limit = (name: string): number => r.limits[name] ?? 0;
  const hit = r.limits_hit.length && r.verdict !== r.limits_hit[0] ? ` It met limits: ${r.limits_hit.join(", ")}.` : "";
  switch (r.verdict) {
    case "ok": return { kind: "ok", text: `Ended well, with exit code 0, after ${seconds(r.usage.wall_time ?? 0)}.${hit}` };
    case "runtime_error": return { kind: "bad", text: `Ended with exit code ${r.exit_code}, after ${seconds(r.usage.wall_time ?? 0)}.${hit}` };
    case "signaled": return { kind: "bad", text: `Killed by signal ${r.signal}${SIGNALS[r.signal ?? 0] ? ` (${SIGNALS[r.signal ?? 0]})` : ""}.${hit}` };
    case "wall_time": return { kind: "limit", text: `Stopped after ${seconds(limit("wall_time"))} on the clock.` };
    case "cpu_time": return { kind: "limit", text: `Stopped at ${seconds(limit("cpu_time"))} of CPU time.` };
    case "memory": return { kind: "limit", text: `Stopped at ${bytes(limit("memory"))} of memory.` };
    case "output": return { kind: "limit", text: `Stopped at ${bytes(limit("output"))} of output.` };
    case "security": return { kind: "limit", text: `Stopped at a forbidden system call${r.syscall ? `: ${shown(r.syscall)}` : ""}.` };
    case "jail_error": return { kind: "bad", text: "The jail failed, not the program." };
    default: return { kind: "bad", text: shown(r.verdict) };
  }
}
