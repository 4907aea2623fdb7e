"""Refresh the output blocks and the picture of the README: python scripts/readme.py."""

import re
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests"))

import pmg_eval as pe  # noqa: E402
from docs.test_readme import README, executed  # noqa: E402
from pmg_eval import demo  # noqa: E402


def main() -> None:
    """Run the blocks, write their output below them, draw the event study."""
    text = README.read_text(encoding="utf-8")
    with tempfile.TemporaryDirectory() as folder:
        outputs = iter([printed for _, printed in executed(text, Path(folder))])
    text = re.sub(r"^```output\n.*?^```$", lambda _: f"```output\n{next(outputs)}```", text, flags=re.M | re.S)
    README.write_text(text, encoding="utf-8")
    panel = pe.Panel(demo.castle(), unit="state", time="year", treatment="law", exposure="population")
    study = pe.evaluate(panel, "homicides", draws=19).effects.where(group="event_time", event_time=slice(-7, 3))
    figure = study.plot()
    figure.savefig(ROOT / "docs" / "img" / "castle_event_study.png", dpi=130, metadata={"Software": None})


if __name__ == "__main__":
    main()
