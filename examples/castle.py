"""Did castle-doctrine laws change homicides, overall and in each state?

Runs on real data from the package causaldata and writes one self-contained page.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pmg_eval as pe
from pmg_eval import demo


def main(page: Path) -> None:
    """Evaluate the laws and write the page."""
    table = demo.castle()
    panel = pe.Panel(table, unit="state", time="year", treatment="law", exposure="population")
    # draws: random assignments of the randomization test; 499, the default, takes a little longer
    result = pe.evaluate(
        panel, "homicides", title="Castle-doctrine laws and homicide, 50 US states, 2000-2010", draws=99
    )
    print(result)
    print()
    print(
        result.areas.to_frame()[
            ["unit", "cohort", "estimate", "conf_low", "conf_high", "p_value", "status"]
        ].to_string()
    )
    page.parent.mkdir(parents=True, exist_ok=True)
    result.to_html(page, overwrite=True)
    result.to_json(page.with_suffix(".json"), overwrite=True)
    print()
    print(f"The page: {page.resolve()}")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path("out/castle.html"))
