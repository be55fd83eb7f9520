"""Programs of the usual languages and C libraries run in a default jail: what the filter refuses, they do without."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import pyjail
from pyjail import Jail, Limits
from tests import place
from tests.conftest import SLOW

ROOMY = Limits(memory="1G", processes=128, cpu_time=30 * SLOW, wall_time=60 * SLOW, file_size="256M", disk="256M")
# 20 threads or tasks, a child process, a file, the sum of 0..999 in each language
PROGRAMS = {
    "glibc": (
        "a.c",
        ["gcc", "-O1", "-pthread", "-o", "a", "a.c"],
        ["./a"],
        r"""
        #include <pthread.h>
        #include <stdio.h>
        #include <stdlib.h>
        static long sums[20];
        static void *f(void *p) { for (int i = 0; i < 1000; i++) *(long *)p += i; return 0; }
        int main() {
          pthread_t t[20];
          for (int i = 0; i < 20; i++) if (pthread_create(&t[i], 0, f, &sums[i])) return 2;
          for (int i = 0; i < 20; i++) pthread_join(t[i], 0);
          FILE *out = fopen("out", "w"); fprintf(out, "%ld", sums[19]); fclose(out);
          return system("cat out");
        }""",
    ),
    "go": (
        "a.go",
        ["go", "build", "-o", "a", "a.go"],
        ["./a"],
        """
        package main
        import ("fmt"; "os"; "os/exec"; "sync")
        func main() {
          var wg sync.WaitGroup
          sums := make([]int, 20)
          for i := range sums { wg.Add(1); go func(i int) { for j := 0; j < 1000; j++ { sums[i] += j }; wg.Done() }(i) }
          wg.Wait()
          if err := os.WriteFile("out", []byte(fmt.Sprint(sums[19])), 0644); err != nil { panic(err) }
          out, err := exec.Command("cat", "out").Output()
          if err != nil { panic(err) }
          fmt.Print(string(out))
        }""",
    ),
    "rust": (
        "a.rs",
        ["rustc", "-O", "-o", "a", "a.rs"],
        ["./a"],
        """
        fn main() {
          let threads: Vec<_> = (0..20).map(|_| std::thread::spawn(|| (0..1000u64).sum::<u64>())).collect();
          let sums: Vec<u64> = threads.into_iter().map(|t| t.join().unwrap()).collect();
          std::fs::write("out", sums[19].to_string()).unwrap();
          let out = std::process::Command::new("cat").arg("out").output().unwrap();
          print!("{}", String::from_utf8(out.stdout).unwrap());
        }""",
    ),
    "jvm": (
        "A.java",
        ["javac", "A.java"],
        ["java", "-Xmx256m", "A"],
        """
        import java.nio.file.*;
        import java.util.stream.*;
        public class A {
          public static void main(String[] args) throws Exception {
            Thread[] t = new Thread[20];
            long[] sums = new long[20];
            for (int i = 0; i < 20; i++) { int k = i; t[i] = new Thread(() -> sums[k] = LongStream.range(0, 1000).sum()); t[i].start(); }
            for (Thread x : t) x.join();
            Files.writeString(Path.of("out"), "" + sums[19]);
            Process p = new ProcessBuilder("cat", "out").start();
            System.out.print(new String(p.getInputStream().readAllBytes()));
          }
        }""",
    ),
    "node": (
        "a.js",
        None,
        ["node", "a.js"],
        """
        const { Worker } = require("worker_threads"), fs = require("fs"), { execFileSync } = require("child_process");
        const code = "let s = 0; for (let i = 0; i < 1000; i++) s += i; require('worker_threads').parentPort.postMessage(s)";
        Promise.all([...Array(4)].map(() => new Promise((ok) => new Worker(code, { eval: true }).on("message", ok)))).then((sums) => {
          fs.writeFileSync("out", String(sums[3]));
          process.stdout.write(execFileSync("cat", ["out"]));
        });""",
    ),
    "perl": (
        "a.pl",
        None,
        ["perl", "a.pl"],
        """
        my $s = 0; $s += $_ for 0..999;
        open(my $f, ">", "out"); print $f $s; close $f;
        print `cat out`;
        """,
    ),
    "cpython": (
        "a.py",
        None,
        [sys.executable, "a.py"],
        """
import concurrent.futures, multiprocessing, pathlib, subprocess, sys
def f(_): return sum(range(1000))
if __name__ == "__main__":
    with concurrent.futures.ThreadPoolExecutor(20) as pool: sums = list(pool.map(f, range(20)))
    with concurrent.futures.ProcessPoolExecutor(2) as pool: assert list(pool.map(f, range(4))) == sums[:4]
    pathlib.Path("out").write_text(str(sums[19]))
    sys.stdout.write(subprocess.run(["cat", "out"], capture_output=True, text=True).stdout)
""",
    ),
    "numpy": (
        "a.py",
        None,
        [sys.executable, "a.py"],
        """
import numpy as np
a = np.arange(1000.0)
assert np.linalg.inv(np.eye(300) * 2)[0, 0] == 0.5 and (np.ones((300, 300)) @ np.ones((300, 300)))[0, 0] == 300
print(int(a.sum()), end="")
""",
    ),
}
PROGRAMS["musl"] = (PROGRAMS["glibc"][0], ["musl-gcc", *PROGRAMS["glibc"][1][1:], "-static"], *PROGRAMS["glibc"][2:])
NEEDED = {
    "glibc": "gcc",
    "musl": "musl-gcc",
    "go": "go",
    "rust": "rustc",
    "jvm": "javac",
    "node": "node",
    "perl": "perl",
}


@pytest.mark.skipif(SLOW > 1, reason=place.ELSEWHERE)  # compilers in an emulated guest
@pytest.mark.parametrize("name", PROGRAMS)
def test_a_program_of_this_runtime_works(name, tmp_path):
    file, compile_, command, source = PROGRAMS[name]
    tool = NEEDED.get(name)
    if tool and shutil.which(tool) is None:
        pytest.skip(f"{tool} {place.WITHOUT_TOOL}")
    if name == "numpy" and importlib.util.find_spec("numpy") is None:
        pytest.skip("numpy is missing: pip install numpy")
    (tmp_path / file).write_text(source)
    if compile_:
        env = {**os.environ, "GOCACHE": str(tmp_path / "cache"), "GO111MODULE": "off"}
        subprocess.run(compile_, cwd=tmp_path, check=True, env=env, capture_output=True)
    files = {p.name: p for p in Path(tmp_path).iterdir() if p.is_file()}
    jail = Jail(python=sys.executable) if name == "numpy" else None
    r = pyjail.run(command, ROOMY, files=files, jail=jail)
    assert (r.verdict, r.stdout, r.stderr) == (pyjail.Verdict.OK, b"499500", b"")
