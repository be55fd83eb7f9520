#!/bin/sh
# What `./dev lint` runs, from the repository's root.
set -eu
PY=.venv/bin/python
$PY -m ruff check .
$PY -m ruff format --check .
$PY -m mypy
.venv/bin/clang-format --dry-run -Werror csrc/*.c csrc/*.h
flags="-std=c11 -O1 -Wall -Wextra -Werror -Wshadow -Wstrict-prototypes -Wvla -ffreestanding -fno-stack-protector"
for cc in gcc aarch64-linux-gnu-gcc; do
    # shellcheck disable=SC2086
    $cc $flags -c -o /dev/null csrc/keeper.c
    $cc -std=gnu11 -O2 -Wall -Wextra -Werror -c -o /dev/null csrc/spawn.c
done
# shellcheck disable=SC2086
gcc $flags -fanalyzer -c -o /dev/null csrc/keeper.c
cppcheck --std=c11 --enable=warning,portability,performance --error-exitcode=1 --quiet -D__x86_64__ \
    --suppress=missingIncludeSystem csrc/keeper.c csrc/spawn.c
sh -n dev
echo "lint: fine"
