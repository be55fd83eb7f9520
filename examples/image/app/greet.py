"""The program of the image that examples/image/image.toml is the recipe of."""

from __future__ import annotations

import os
import sys


def greeting(name: str) -> str:
    return f"{os.environ.get('GREETING', 'good day')}, {name}"


if __name__ == "__main__":
    if sys.argv[1:] == ["--check"]:
        assert greeting("you").endswith(", you")
    else:
        print(*(greeting(name) for name in sys.argv[1:]), sep="\n")
