"""Which shared objects of a directory ELF files link to, directly or by others: DT_NEEDED, elf(5)."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterable

from pyjail._base.fds import not_ours

PT_LOAD, PT_DYNAMIC = 1, 2
DT_NEEDED, DT_STRTAB, DT_STRSZ = 1, 5, 10
SEGMENT = "<I4xQQ8xQ16x"  # p_type, p_offset, p_vaddr, p_filesz
MOST, MOST_NAMES = 1 << 22, 1000  # bytes of a table; what one file links to


def extensions(libraries: Iterable[str]) -> list[str]:
    """The compiled modules of a standard library."""
    found = []
    for directory in dict.fromkeys(libraries):
        try:
            found += [e.path for e in os.scandir(f"{directory}/lib-dynload") if ".so" in e.name]
        except OSError as e:
            not_ours(e)
            continue
    return found


def libraries(files: Iterable[str], directory: str, names: Iterable[str]) -> list[str]:
    """Of ``names``, which lie in ``directory``, those that the files need."""
    there, found = set(names), dict[str, None]()
    todo = list(files)
    while todo:
        for name in needed(todo.pop()):
            if name in there and name not in found:
                found[name] = None
                todo.append(f"{directory}/{name}")
    return list(found)


def needed(path: str) -> list[str]:
    """The names that the file's dynamic section asks for; none when it is no 64-bit little-endian ELF file."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as e:
        not_ours(e)
        return []
    try:
        return _needed(fd)
    except OSError as e:
        not_ours(e)
        return []
    except (struct.error, ValueError, OverflowError):
        return []
    finally:
        os.close(fd)


def _needed(fd: int) -> list[str]:
    head = os.pread(fd, 64, 0)
    if head[:6] != b"\x7fELF\2\1":
        return []
    start, size, count = struct.unpack_from("<32xQ14xHH", head)  # e_phoff, e_phentsize, e_phnum
    if size != struct.calcsize(SEGMENT):
        return []
    table = os.pread(fd, size * count, start)
    segments = [struct.unpack_from(SEGMENT, table, i * size) for i in range(count)]
    wanted: list[int] = []
    known = {DT_STRTAB: 0, DT_STRSZ: 0}
    for kind, offset, _, length in segments:
        if kind == PT_DYNAMIC:
            section = os.pread(fd, min(length, MOST), offset)
            for tag, value in struct.iter_unpack("<QQ", section[: len(section) // 16 * 16]):
                if tag == DT_NEEDED and len(wanted) < MOST_NAMES:
                    wanted.append(value)
                elif tag in known:
                    known[tag] = value
    strings = known[DT_STRTAB]
    for kind, offset, address, length in segments:
        if kind == PT_LOAD and address <= strings < address + length:
            names = os.pread(fd, min(known[DT_STRSZ], MOST), strings - address + offset)
            return [names[n : names.find(b"\0", n)].decode("utf-8", "surrogateescape") for n in wanted]
    return []
