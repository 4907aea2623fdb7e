"""Print the lower bounds of pyproject.toml as pip constraints: minimum_versions.py [EXTRA ...]."""

import re
import sys
import tomllib
from pathlib import Path


def bounds(requirements: list[str], extras: dict[str, list[str]], own_name: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for requirement in requirements:
        own = re.fullmatch(rf"{own_name}\[(.+)\]", requirement)
        if own:
            for extra in own.group(1).split(","):
                found |= bounds(extras[extra.strip()], extras, own_name)
            continue
        match = re.match(r"([A-Za-z0-9._-]+)(?:\[[^\]]*\])?>=([0-9.]+)", requirement)
        if match is None:
            sys.exit(f"no lower bound in {requirement!r}")
        found[match.group(1)] = match.group(2)
    return found


def main() -> None:
    project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    wanted = [*project["dependencies"], *(requirement for extra in sys.argv[1:] for requirement in extras[extra])]
    for name, version in sorted(bounds(wanted, extras, project["name"]).items()):
        print(f"{name}=={version}")


if __name__ == "__main__":
    main()
