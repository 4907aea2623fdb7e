"""Pages whose blocks of code are run and whose blocks of output are what the code printed.

A page has pairs of blocks, ```python and then ```output; ``python tests/_blocks.py PAGE ...`` rewrites the outputs.
"""

import contextlib
import io
import os
import re
import sys
import tempfile
import warnings
from pathlib import Path

from pmg_eval import PmgEvalWarning

BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def executed(text: str, folder: Path, name: str = "page") -> list[tuple[str, str]]:
    """(code, what it printed) of every python block, run one after the other in one namespace, inside ``folder``."""
    namespace: dict[str, object] = {}
    results = []
    before = Path.cwd()
    os.chdir(folder)
    try:
        for kind, code in BLOCK.findall(text):
            if kind != "python":
                continue
            out = io.StringIO()
            with contextlib.redirect_stdout(out), warnings.catch_warnings():
                warnings.simplefilter("ignore", PmgEvalWarning)  # few placebo areas: said in the text
                exec(compile(code, name, "exec"), namespace)  # noqa: S102 - the page's own code
            results.append((code, out.getvalue()))
    finally:
        os.chdir(before)
    return results


def outputs(text: str) -> list[str]:
    """What the page says that its blocks print."""
    return [code for kind, code in BLOCK.findall(text) if kind == "output"]


def refreshed(text: str, folder: Path) -> str:
    """The page with the outputs of today."""
    printed = iter([out for _, out in executed(text, folder)])
    return re.sub(r"^```output\n.*?^```$", lambda _: f"```output\n{next(printed)}```", text, flags=re.M | re.S)


if __name__ == "__main__":
    for page in map(Path, sys.argv[1:]):
        with tempfile.TemporaryDirectory() as made:
            page.write_text(refreshed(page.read_text(encoding="utf-8"), Path(made)), encoding="utf-8")
