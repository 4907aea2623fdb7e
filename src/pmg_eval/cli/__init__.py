"""The command line ``pmg-eval`` (L6): thin; everything it does can be done from Python.

>>> from pmg_eval.cli import main
>>> main(["schema", "spec", "--quiet"])  # doctest: +ELLIPSIS
{
  "$schema": ...
0
"""

from pmg_eval.cli._main import main

__all__ = ["main"]
