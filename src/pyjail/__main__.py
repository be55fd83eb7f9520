"""``python -m pyjail`` is ``pyjail``."""

import sys

from pyjail.cli import main

if __name__ == "__main__":
    sys.exit(main())
