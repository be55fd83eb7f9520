/** Programs to begin with, and programs that attack their jail, each with what has to come of it. */
import type { Program } from "./share.js";

export interface Example {
  id: string; title: string; language: string; text: string; stdin?: string; limits?: Record<string, string>; collect?: string;
  expected?: { verdicts: string[]; control: string; rows: string[] };
}

/** What a language calls its first file. */
export const MAIN: Record<string, string> = { python: "main.py", c: "main.c", cpp: "main.cpp", rust: "main.rs", go: "main.go",
  java: "Main.java", kotlin: "main.kt", javascript: "main.js", typescript: "main.ts", csharp: "main.cs", ruby: "main.rb",
  perl: "main.pl", php: "main.php", bash: "main.sh" };

export const HELLO: Record<string, string> = {
  python: `print("Hello from Python")\n`,
  c: `#include <stdio.h>\n\nint main(void) {\n    puts("Hello from C");\n}\n`,
  cpp: `#include <iostream>\n\nint main() {\n    std::cout << "Hello from C++\\n";\n}\n`,
  rust: `fn main() {\n    println!("Hello from Rust");\n}\n`,
  go: `package main\n\nimport "fmt"\n\nfunc main() {\n\tfmt.Println("Hello from Go")\n}\n`,
  java: `public class Main {\n    public static void main(String[] args) {\n        System.out.println("Hello from Java");\n    }\n}\n`,
  kotlin: `fun main() {\n    println("Hello from Kotlin")\n}\n`,
  javascript: `console.log("Hello from JavaScript");\n`,
  typescript: `const whence: string = "TypeScript";\nconsole.log(\`Hello from \${whence}\`);\n`,
  csharp: `using System;\n\nclass Program {\n    static void Main() {\n        Console.WriteLine("Hello from C#");\n    }\n}\n`,
  ruby: `puts "Hello from Ruby"\n`,
  perl: `print "Hello from Perl\\n";\n`,
  php: `<?php\necho "Hello from PHP\\n";\n`,
  bash: `echo "Hello from Bash"\n`,
};

const py = (lines: string): string => lines.replace(/^\n/, "");

export const FRIENDLY: Example[] = [
  { id: "stdin", title: "Reads its input", language: "python", stdin: "3\n4\n5\n", text: py(`
import sys

numbers = [int(line) for line in sys.stdin]
print("sum", sum(numbers))
print("to the other stream", file=sys.stderr)
`) },
  { id: "colours", title: "Colours", language: "python", text: py(`
for n, name in enumerate("black red green yellow blue magenta cyan white".split()):
    print(f"\\x1b[3{n}m{name:8}\\x1b[0m \\x1b[1;3{n}mbold\\x1b[0m \\x1b[4{n}mbehind\\x1b[0m")
print("".join(f"\\x1b[38;5;{n}m#" for n in range(16, 76)) + "\\x1b[0m")
`) },
  { id: "progress", title: "Progress bar", language: "python", text: py(`
import time

for n in range(31):
    print(f"\\r[{'#' * n}{'.' * (30 - n)}] {n * 100 // 30:3} %", end="", flush=True)
    time.sleep(0.05)
print("\\ndone")
`) },
  { id: "files", title: "Writes files", language: "python", collect: "*.csv", text: py(`
with open("squares.csv", "w") as f:
    for n in range(10):
        f.write(f"{n},{n * n}\\n")
print("squares.csv is written")
`) },
  { id: "compile", title: "Compile error", language: "c", text: `#include <stdio.h>\n\nint main(void) {\n    puts("no semicolon")\n}\n` },
];

export const HOSTILE: Example[] = [
  { id: "fork", title: "Fork bomb", language: "python", text: py(`
import os
import time

children = 0
try:
    while True:
        if os.fork() == 0:
            time.sleep(60)
        children += 1
except OSError as e:
    print(children, "children, then:", e)
`), expected: { verdicts: ["ok", "runtime_error"], rows: ["processes"], control: "The cgroup counts processes, and the kernel refuses the next one. With the jail, all children end." } },
  { id: "memory", title: "Memory eater", language: "python", text: py(`
kept = []
while True:
    kept.append(bytearray(8 << 20))
    print(len(kept) * 8, "MiB", flush=True)
`), limits: { memory: "64" }, expected: { verdicts: ["memory"], rows: ["memory"], control: "The cgroup of the run holds all its memory, swap too; beyond that the kernel kills it." } },
  { id: "output", title: "Endless output", language: "python", text: py(`
while True:
    print("all work and no play " * 40)
`), expected: { verdicts: ["output"], rows: ["output"], control: "Output is counted while it is read; beyond the limit the program is killed." } },
  { id: "disk", title: "Disk filler", language: "python", text: py(`
size = 0
try:
    with open("big", "wb", buffering=0) as f:
        while True:
            size += f.write(bytes(1 << 20))
except OSError as e:
    print(size >> 20, "MiB, then:", e)
`), limits: { disk: "16" }, expected: { verdicts: ["ok"], rows: ["disk"], control: "What can be written to is a tmpfs of that size, which is gone with the jail." } },
  { id: "sleep", title: "Sleeps for ever", language: "python", text: py(`
import time

print("waiting", flush=True)
time.sleep(1_000_000)
`), limits: { wall_time: "2" }, expected: { verdicts: ["wall_time"], rows: ["wall_time"], control: "A timer outside the jail, by a clock that nobody sets." } },
  { id: "busy", title: "Burns CPU", language: "python", text: py(`
while True:
    pass
`), limits: { cpu_time: "1" }, expected: { verdicts: ["cpu_time"], rows: ["cpu_time"], control: "The CPU time of all its processes is measured by the kernel, and it is killed at its limit." } },
  { id: "shadow", title: "Reads /etc/shadow", language: "python", text: py(`
for path in ("/etc/shadow", "/root", "/home", "/proc/1/environ"):
    try:
        print(path, open(path).read() if path[1] in "ep" else __import__("os").listdir(path))
    except OSError as e:
        print(path, "->", e)
`), expected: { verdicts: ["ok"], rows: ["root", "view system", "landlock"], control: "The file is not there: the jail has a mount namespace and a root of its own." } },
  { id: "network", title: "Connects to the network", language: "python", text: py(`
import socket

for address in (("192.0.2.1", 80), ("127.0.0.1", 8000)):
    try:
        socket.create_connection(address, timeout=2)
        print(address, "connected")
    except OSError as e:
        print(address, "->", e)
`), expected: { verdicts: ["ok"], rows: ["namespace net"], control: "A network namespace of its own, with no interface in it." } },
  { id: "parent", title: "Kills its parent", language: "python", text: py(`
import os
import signal

print("I am", os.getpid(), "and my parent is", os.getppid())
for pid in {os.getppid(), 1, -1} - {0}:
    try:
        os.kill(pid, signal.SIGKILL)
        print(pid, "was sent SIGKILL")
    except OSError as e:
        print(pid, "->", e)
print("still here")
`), expected: { verdicts: ["ok", "signaled", "runtime_error"], rows: ["namespace pid"], control: "A PID namespace of its own: no process outside has a number that it could name." } },
  { id: "symlink", title: "Symlink out of the jail", language: "python", collect: "*.txt", text: py(`
import os

os.symlink("/etc/passwd", "passwd.txt")
os.symlink("../../../../etc/shadow", "shadow.txt")
print("links are made; what comes back?")
`), expected: { verdicts: ["ok"], rows: ["root"], control: "Files are brought back without following links: none of these comes." } },
  { id: "injection", title: "Terminal and HTML injection", language: "python", text: py(`
print("\\x1b]0;your title is mine\\x07\\x1b]52;c;cm0gLXJmIC8=\\x07title and clipboard")
print("\\x1b[2J\\x1b[H\\x1b[?1049h\\x1bcscreen")
print("\\x1b]8;;https://example.com\\x1b\\\\link\\x1b]8;;\\x1b\\\\")
print("<img src=x onerror=alert(1)><script>alert(2)</script>")
print("safe \\u202etxt.exe")
`), expected: { verdicts: ["ok"], rows: [], control: "Not the jail's matter: the page strips all sequences but colours, and output is never markup." } },
];

export function programOf(example: Example): Program {
  return { language: example.language, files: [{ name: MAIN[example.language] ?? "main.txt", text: example.text }],
    stdin: example.stdin ?? "", args: "", collect: example.collect ?? "", limits: example.limits ?? {} };
}

export function hello(language: string): Program {
  return programOf({ id: "hello", title: "", language, text: HELLO[language] ?? "" });
}
