#!/bin/sh
# What `./dev lint` runs, from the repository's root.
set -eu
PY=.venv/bin/python
$PY -m ruff check .
$PY -m ruff format --check .
$PY -m mypy
.venv/bin/clang-format --dry-run -Werror csrc/*.c csrc/*.h
flags="-std=c11 -Os -Wall -Wextra -Werror -Wshadow -Wstrict-prototypes -Wvla -ffreestanding -fno-stack-protector -fno-pie"
made=$(mktemp -d)
trap 'rm -r "$made"' EXIT
# For the other architecture, with no symbol of anyone, either.
# shellcheck disable=SC2086
aarch64-linux-gnu-gcc $flags -static -nostdlib -no-pie -o "$made/keeper" csrc/keeper.c
case $(od -An -tx1 -j18 -N2 "$made/keeper") in *b7*00*) ;; *) echo "no program for aarch64" >&2 && exit 1 ;; esac
aarch64-linux-gnu-gcc -std=gnu11 -O2 -Wall -Wextra -Werror -c -o "$made/spawn.o" csrc/spawn.c
# shellcheck disable=SC2086
gcc $flags -O1 -fanalyzer -c -o "$made/keeper.o" csrc/keeper.c
cppcheck --std=c11 --enable=warning,portability,performance --error-exitcode=1 --quiet -D__x86_64__ \
    --suppress=missingIncludeSystem csrc/keeper.c csrc/spawn.c
sh -n dev
echo "lint: fine"
