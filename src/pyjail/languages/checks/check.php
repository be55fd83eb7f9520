<?php
$mode = trim(fgets(STDIN));
if ($mode === "hello") {
    echo "hello\n";
} elseif ($mode === "stdin") {
    echo array_sum(preg_split('/\s+/', trim(stream_get_contents(STDIN)))), "\n";
} elseif ($mode === "exception") {
    throw new RuntimeException("as asked");
} elseif ($mode === "memory") {
    for ($kept = []; ; $kept[] = str_repeat("x", 2 ** 20));
} elseif ($mode === "threads") {
    $pipes = [];
    for ($i = 0; $i < 4; $i++) $pipes[] = popen('echo $((999 * 1000 / 2))', "r");
    echo array_sum(array_map("fgets", $pipes)), "\n";
} elseif ($mode === "cpus") {
    echo shell_exec("env -u OMP_NUM_THREADS nproc");
}
