"""What `served` starts: ``pyjail serve``, as the pickled Config on standard input says."""

from __future__ import annotations

import pickle
import sys

from pyjail.serve import server

if __name__ == "__main__":
    sys.exit(server.main(pickle.load(sys.stdin.buffer)))
