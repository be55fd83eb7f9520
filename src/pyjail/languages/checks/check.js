const [mode, ...words] = require("fs").readFileSync(0, "utf8").split(/\s+/);
const { Worker } = require("worker_threads");
const work = `let sum = 0; for (let i = 0; i < 1000; i++) sum += i; require("worker_threads").parentPort.postMessage(sum);`;
if (mode === "hello") {
    console.log("hello");
} else if (mode === "stdin") {
    console.log(words.filter(Boolean).map(Number).reduce((a, b) => a + b));
} else if (mode === "exception") {
    throw new Error("as asked");
} else if (mode === "memory") {
    const kept = [];
    for (;;) kept.push(new Array(1000).fill({}));
} else if (mode === "threads") {
    const one = () => new Promise((done) => new Worker(work, { eval: true }).on("message", done));
    Promise.all([one(), one(), one(), one()]).then((sums) => console.log(sums.reduce((a, b) => a + b)));
} else if (mode === "cpus") {
    console.log(require("child_process").execFileSync("env", ["-u", "OMP_NUM_THREADS", "nproc"], { encoding: "utf8" }).trim());
}
