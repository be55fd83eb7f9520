"""The head of what is sent to a keeper or a janitor."""

from __future__ import annotations

import struct

pack_head = struct.Struct("<5I").pack  # struct pj_message: op, number, flags, mode, length
