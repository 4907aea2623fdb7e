"""``python -m pmg_eval`` is ``pmg-eval``."""

import sys

from pmg_eval.cli import main

if __name__ == "__main__":
    sys.exit(main())
