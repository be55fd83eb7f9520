"""cffi builder of pyjail._core.native: plan.h as the cdef, spawn.c and check.c as the source (API mode, abi3)."""

import re
from pathlib import Path

from cffi import FFI

HERE = Path(__file__).resolve().parent


def cdef() -> str:
    """plan.h without what only the C preprocessor needs."""
    text = (HERE / "plan.h").read_text()
    text = re.sub(r"/\*.*?\*/", "", text, flags=re.S)
    keep = [
        line
        for line in text.splitlines()
        if not line.startswith("#") or re.match(r"#define PJ_\w+ (0x)?[0-9a-f]+\s*$", line)
    ]
    return "\n".join(keep)


FUNCTIONS = """
int pj_spawn(int exe, const int *fds, uint32_t nfds, int *pidfd, struct pj_error *error);
int pj_intact(const uint64_t (*held)[3], uint32_t count);
int pj_landlock_abi(void);
int pj_check_plan(const void *blob, uint32_t have, uint32_t *row);
int pj_check_limits(const void *blob, uint32_t have, uint32_t cgroups, uint32_t *row);
int pj_check_request(const void *blob, uint32_t have, uint32_t *row);
"""

builder = FFI()
builder.cdef(cdef() + FUNCTIONS)
builder.set_source(
    "pyjail._core.native",
    '#include "spawn.c"\n#include "check.c"\n',
    include_dirs=[str(HERE)],
    depends=[str(HERE / name) for name in ("plan.h", "sys.h", "spawn.c", "check.c")],
    extra_compile_args=[
        "-std=gnu11",
        "-O2",
        "-Wall",
        "-Wextra",
        "-Werror",
        "-Wno-unused-parameter",
        "-Wno-missing-field-initializers",
    ],
)
