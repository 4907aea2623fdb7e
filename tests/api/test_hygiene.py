"""No code that runs what a file says, no network, no machine's own paths, no bare assert."""

import ast
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SOURCES = sorted((ROOT / "src").rglob("*.py"))

FORBIDDEN_IMPORTS = {
    *("pickle", "dill", "cloudpickle", "marshal", "shelve", "jsonpickle"),  # run what a file says
    *("socket", "ssl", "http", "ftplib", "smtplib", "requests", "httpx", "aiohttp", "urllib3"),  # network
    *("subprocess", "ctypes"),
}
FORBIDDEN_NAMES = {"eval", "exec", "compile", "__import__", "breakpoint", "print"}
FORBIDDEN_ATTRIBUTES = {
    *("pickle", "read_pickle", "to_pickle", "unsafe_load", "full_load", "eval"),
    *("system", "popen", "urlopen", "urlretrieve"),
    *("joblib.dump", "joblib.load", "warnings.filterwarnings", "warnings.simplefilter", "random.seed", "np.seterr"),
    *("pd.set_option", "pandas.set_option", "np.set_printoptions"),
}
# Where a name above is right, and why.
ALLOWED = {("cli.py", "print"), ("__main__.py", "print")}


def violations(tree: ast.AST, file: str) -> Iterator[str]:
    inside_catch = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.With) and any("catch_warnings" in ast.unparse(item) for item in node.items)
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        name = ""
        if isinstance(node, ast.Import):
            name = next((a.name for a in node.names if a.name.partition(".")[0] in FORBIDDEN_IMPORTS), "")
        elif isinstance(node, ast.ImportFrom):
            name = node.module or ""
            name = name if name.partition(".")[0] in FORBIDDEN_IMPORTS and node.level == 0 else ""
        elif isinstance(node, ast.Assert):
            name = "assert"
        elif isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            attribute = {called, node.func.attr} if isinstance(node.func, ast.Attribute) else set()
            if called in FORBIDDEN_NAMES or attribute & FORBIDDEN_ATTRIBUTES:
                name = called
            if called.startswith("warnings.") and id(node) in inside_catch:
                name = ""
        if name and (Path(file).name, name) not in ALLOWED:
            yield f"{file}:{getattr(node, 'lineno', 0)} {name}"


@pytest.mark.gate
def test_nothing_forbidden_in_the_sources() -> None:
    assert SOURCES
    found = [
        line
        for path in SOURCES
        for line in violations(ast.parse(path.read_text(encoding="utf-8")), path.relative_to(ROOT).as_posix())
    ]
    assert found == []


@pytest.mark.gate
@pytest.mark.parametrize(
    "line",
    [
        *("import pickle", "from pickle import loads", "import joblib; joblib.load('x')", "import http.client"),
        *("eval('1')", "exec('1')", "df.to_pickle('x')", "pd.read_pickle('x')", "assert x", "print(1)", "df.eval('a')"),
        *("os.system('x')", "warnings.simplefilter('ignore')", "pd.set_option('a', 1)", "urllib.request.urlopen('x')"),
    ],
)
def test_the_check_sees_it(line: str) -> None:
    assert list(violations(ast.parse(line), "x.py"))


@pytest.mark.gate
def test_warnings_may_be_silenced_locally() -> None:
    local = "with warnings.catch_warnings():\n    warnings.simplefilter('ignore')"
    assert list(violations(ast.parse(local), "x.py")) == []


def project_files() -> list[Path]:
    listing = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],  # noqa: S607 (git of the developer)
        cwd=ROOT,
        capture_output=True,
        check=False,
    )
    if listing.returncode == 0:
        paths = [ROOT / name for name in listing.stdout.decode().split("\0") if name]
    else:  # an unpacked source archive
        folders = ("src", "tests", "benchmarks", "scripts", "examples", "docs")
        paths = [*ROOT.glob("*.*"), *(path for name in folders for path in (ROOT / name).rglob("*"))]
    return [path for path in paths if path.is_file() and ".envs" not in path.parts]


# Written in pieces, so that this file passes its own check.
FOLDERS = ("wo" + "rk", "ho" + "me", "ro" + "ot", "Us" + "ers")
HOSTS = ("py" + "pi", "python" + "hosted", "npm" + "js", "ana" + "conda")
MACHINE_PATHS = re.compile(rf"(?<![\w.:/~-])/(?:{'|'.join(FOLDERS)})\b")
REGISTRIES = re.compile(rf"\b(?:{'|'.join(HOSTS)})\.(?:org|com)\b")


@pytest.mark.gate
def test_no_machine_path_and_no_registry_address_in_the_files() -> None:
    found = []
    for path in project_files():
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue  # a picture
        for number, line in enumerate(text.splitlines(), 1):
            hit = MACHINE_PATHS.search(line) or REGISTRIES.search(line)
            if hit:
                found.append(f"{path.relative_to(ROOT).as_posix()}:{number} {hit.group()}")
    assert found == []


@pytest.mark.gate
@pytest.mark.parametrize("text", ["/" + "home/ann/x.csv", "cd /" + "root", "'/" + "work/main'"])
def test_a_machine_path_is_seen(text: str) -> None:
    assert MACHINE_PATHS.search(text)
