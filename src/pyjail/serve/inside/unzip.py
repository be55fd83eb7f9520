"""What takes a zip apart: the standard library alone, for it runs in a jail, as a text. Arguments: bytes, entries."""

from __future__ import annotations

import io
import json
import os
import stat
import sys
import zipfile

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

STORED, DEFLATED = 0, 8
ENCRYPTED = 1
UNIX = 3
DEEPEST = 64  # directories, as files are collected
CHUNK = 1 << 16


class Unfit(Exception):
    """Why it is not unpacked."""


def unpack(data: bytes, most_bytes: int, most_entries: int) -> list[str]:
    """Write its files below this directory, the first one of each name: the names of those that may be executed.

    Nothing is a link here, and nothing is written twice, so no name that stays below leads elsewhere.
    """
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        entries = archive.infolist()
        if len(entries) > most_entries:
            raise Unfit(f"it has {len(entries)} entries, at most {most_entries} are taken")
        for entry in entries:
            check(entry)
        left, executable = most_bytes, []
        for entry in entries:
            name = entry.filename
            if entry.is_dir():
                os.makedirs(name, exist_ok=True)
                continue
            os.makedirs(os.path.dirname(name) or ".", exist_ok=True)
            if os.path.lexists(name):
                continue
            with open(name, "xb") as file:
                for chunk in chunks(archive, entry):
                    left -= len(chunk)
                    if left < 0:
                        raise Unfit(f"it unpacks to more than {most_bytes} bytes")
                    file.write(chunk)
            if entry.create_system == UNIX and entry.external_attr >> 16 & 0o111:
                executable.append(name)
    return executable


def check(entry: zipfile.ZipInfo) -> None:
    """Raises `Unfit` for what is no file or directory below this one, or cannot be read as such."""
    name, kind = entry.filename, stat.S_IFMT(entry.external_attr >> 16) if entry.create_system == UNIX else 0
    if not name or name.startswith("/") or ".." in name.split("/") or "\\" in entry.orig_filename:
        raise Unfit(f"{shown(name)} is no path below the archive's own")
    if "\0" in entry.orig_filename:
        raise Unfit(f"{shown(name)} holds a NUL")
    if name.count("/") > DEEPEST:
        raise Unfit(f"{shown(name)} is deeper than {DEEPEST} directories")
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        raise Unfit(f"{shown(name)} is a link, or no file")
    if entry.flag_bits & ENCRYPTED:
        raise Unfit(f"{shown(name)} is encrypted")
    if entry.compress_type not in (STORED, DEFLATED):
        raise Unfit(f"{shown(name)} is neither stored nor deflated")


def chunks(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> Iterator[bytes]:
    with archive.open(entry) as packed:
        while chunk := packed.read(CHUNK):
            yield chunk


def shown(name: str) -> str:
    return ascii(name[:100])


def main() -> int:
    """Of standard input; what is unfit is told on standard error."""
    try:
        executable = unpack(sys.stdin.buffer.read(), int(sys.argv[1]), int(sys.argv[2]))
    except Unfit as e:
        why = str(e)
    except OSError as e:
        why = f"{shown(str(e.filename or ''))} cannot be written: {os.strerror(e.errno or 0)}"
    except UnicodeDecodeError:
        why = "a name in it is no UTF-8"
    except Exception:  # of its reader, which promises nothing of those it raises
        why = "it cannot be read as a zip"
    else:
        sys.stdout.write(json.dumps(executable))
        return 0
    sys.stderr.write(why)
    return 1


if __name__ == "__main__":
    sys.exit(main())
