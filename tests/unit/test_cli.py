"""The command line: what it reads, what it says, what it leaves behind, and with which exit code."""

import gzip
import io
import json
import os
import shlex
import signal
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pandas as pd
import pytest

import pmg_eval as pe
from _blocks import BLOCK, executed
from pmg_eval import _progress
from pmg_eval.cli import _bar, _commands, _demos, _job, _parser, _read, _schema, _spec, main
from pmg_eval.cli._show import Out, panel_text, paragraph, table
from pmg_eval.errors import DataError
from pmg_eval.panel import Spells

SPEC = """
[data]
file = "counts.csv"
unit = "code"
time = "year"
cohort = "start"
never = "missing"
exposure = "youth"

[evaluation]
outcome = "suspects"
title = "A small evaluation"
draws = 19
"""


def counts(n: int = 43) -> pd.DataFrame:
    """Areas 0300, 0301, ...: the first three start in 2019; the area that is called NA never does."""
    rng = np.random.default_rng(4)
    rows = []
    for area in range(n):
        for year in range(2014, 2021):
            people = 2000 + 300 * area
            mean = 0.02 * people * (0.6 if area < 3 and year >= 2019 else 1)
            code = "NA" if area == n - 1 else f"{300 + area:04d}"
            rows.append((code, year, 2019 if area < 3 else None, people, rng.poisson(mean)))
    return pd.DataFrame(rows, columns=["code", "year", "start", "youth", "suspects"])


@pytest.fixture(autouse=True)
def terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """A width of its own: text is wrapped to the terminal, and test processes have none."""
    monkeypatch.setenv("COLUMNS", "100")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    counts().to_csv(tmp_path / "counts.csv", index=False, na_rep="")
    (tmp_path / "counts.toml").write_text(SPEC, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def changed(folder: Path, *replacements: tuple[str, str]) -> str:
    """The specification with other lines; the name of its file."""
    text = SPEC
    for old, new in replacements:
        assert old in text
        text = text.replace(old, new)
    (folder / "changed.toml").write_text(text, encoding="utf-8")
    return "changed.toml"


class FakeEvaluation:
    """Stands in where the evaluation itself is not the question."""

    def to_html(self) -> str:
        return "<p>page</p>"

    def to_json(self) -> str:
        return "{}"


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> list[_job.Job]:
    """Jobs that were run (nothing is computed)."""
    jobs: list[_job.Job] = []

    def run(job: _job.Job) -> Any:
        jobs.append(job)
        return FakeEvaluation()

    monkeypatch.setattr(_job.Job, "run", run)
    monkeypatch.setattr(_commands, "evaluation_text", lambda result: "the finding")
    return jobs


# --- evaluate --------------------------------------------------------------------------------------------------------


def test_evaluate_writes_page_and_numbers_and_says_where(folder, capsys) -> None:
    assert main(["evaluate", "counts.toml", "--out", "results"]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    page = folder / "results" / "counts.html"
    numbers = json.loads((folder / "results" / "counts.json").read_text(encoding="utf-8"))
    assert "A small evaluation" in page.read_text(encoding="utf-8")
    assert {"counts.html", "counts.json"} == {path.name for path in page.parent.iterdir()}
    assert str(page.resolve()) in out
    assert "A small evaluation" in out
    panel = pe.Panel(
        counts(), unit="code", time="year", cohort="start", never=None, exposure="youth"
    )  # in memory, not through a file
    areas = pe.effect_per_area(panel, "suspects")
    by_hand = areas.to_frame().set_index("unit")["estimate"]
    written = {term["unit"]: term["estimate"] for term in numbers["areas"]["terms"]}
    assert written == pytest.approx(by_hand.to_dict(), rel=1e-12)
    assert sorted(written) == ["0300", "0301", "0302"]
    for code, value in by_hand.items():
        assert f"{code}" in out
        assert f"{abs(100 * (value - 1)):.1f} %" in out


def test_quiet_says_nothing(folder, seen, capsys) -> None:
    for arguments in (["--quiet", "evaluate", "counts.toml"], ["evaluate", "counts.toml", "--quiet", "--force"]):
        assert main(arguments) == 0
        assert capsys.readouterr() == ("", "")
    assert len(seen) == 2


def test_what_a_specification_says_reaches_the_evaluation(folder, seen) -> None:
    spec = changed(
        folder, ("draws = 19", 'draws = 7\nseed = 3\nfamily = "gaussian"\nanticipation = 1\neligible = ["0310", "NA"]')
    )
    assert main(["evaluate", spec, "--n-jobs", "2", "--quiet"]) == 0
    (job,) = seen
    assert job.outcome == "suspects"
    assert job.options == {
        "draws": 7, "rng": 3, "family": "gaussian", "anticipation": 1, "eligible": ["0310", "NA"], "n_jobs": 2,
        "title": "A small evaluation",
    }  # fmt: skip
    assert job.panel.units.tolist() == [*(f"{300 + area:04d}" for area in range(42)), "NA"]
    assert (folder / "changed.html").read_text(encoding="utf-8") == "<p>page</p>"


PERSONS = """pseudonym,days,new,kind,cohort,sex
007,40,1,recidivism,2020,m
07,730,0,,2020,f
7,200,1,death,2021,m
8,365,0,,2021,f
"""


def test_persons_beside_the_areas(folder, seen, capsys) -> None:
    (folder / "persons.csv").write_text(PERSONS, encoding="utf-8")
    spells = (
        'draws = 19\n[spells]\nfile = "persons.csv"\nperson = "pseudonym"\nexit = "days"\nevent = "new"\n'
        'cause = "kind"\ngroup = ["cohort", "sex"]\nhorizons = ["1y", 730]'
    )
    spec = changed(folder, ("draws = 19", spells))
    assert main(["evaluate", spec, "--quiet"]) == 0
    given = seen[0].options["spells"]
    assert seen[0].options["horizons"] == ("1y", 730)
    assert (given.n_persons, given.causes) == (4, ("death", "recidivism"))  # 007, 07 and 7 are three persons
    assert given.groups["cohort"].tolist() == ["2020", "2020", "2021", "2021"]
    assert main(["check", spec]) == 0
    out = capsys.readouterr().out
    assert "4 persons" in out
    assert "007" not in out


def test_wrong_persons_are_refused_without_naming_them(folder, seen, capsys) -> None:
    (folder / "persons.csv").write_text(PERSONS.replace("8,365,0", "8,365,2"), encoding="utf-8")
    spells = '[spells]\nfile = "persons.csv"\nperson = "pseudonym"\nexit = "days"\nevent = "new"'
    assert main(["evaluate", changed(folder, ("draws = 19", spells))]) == 1
    err = capsys.readouterr().err
    assert "PMG-" in err
    assert "007" not in err
    assert seen == []


def test_names_of_results_and_data_file_relative_to_the_specification(folder, seen, monkeypatch) -> None:
    changed(folder, ("draws = 19", 'draws = 19\n[output]\nhtml = "page.html"\njson = "numbers.json"'))
    elsewhere = folder / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    assert main(["evaluate", "../changed.toml"]) == 0
    assert sorted(path.name for path in elsewhere.iterdir()) == ["numbers.json", "page.html"]


def test_existing_results_stop_it_before_anything_is_computed(folder, seen, capsys) -> None:
    (folder / "counts.json").write_text("mine", encoding="utf-8")
    assert main(["evaluate", "counts.toml"]) == 3
    out, err = capsys.readouterr()
    assert (out, seen) == ("", [])
    assert "PMG-EXISTS" in err
    assert "--force" in err
    assert (folder / "counts.json").read_text(encoding="utf-8") == "mine"
    assert not (folder / "counts.html").exists()
    assert main(["evaluate", "counts.toml", "--force"]) == 0
    assert (folder / "counts.json").read_text(encoding="utf-8") == "{}"


def test_results_that_appear_meanwhile_are_not_overwritten(folder, monkeypatch, capsys) -> None:
    def run(job: _job.Job) -> Any:
        (folder / "counts.json").write_text("theirs", encoding="utf-8")
        return FakeEvaluation()

    monkeypatch.setattr(_job.Job, "run", run)
    assert main(["evaluate", "counts.toml"]) == 3
    assert (folder / "counts.json").read_text(encoding="utf-8") == "theirs"
    assert not (folder / "counts.html").exists()


@pytest.mark.parametrize("blocking", ["file", "folder"])
def test_places_that_cannot_hold_results(folder, seen, capsys, blocking) -> None:
    if blocking == "file":
        (folder / "results").write_text("", encoding="utf-8")
    else:
        (folder / "results" / "counts.html").mkdir(parents=True)
    assert main(["evaluate", "counts.toml", "--out", "results", "--force"]) == 2
    assert "PMG-PATH" in capsys.readouterr().err
    assert seen == []


def test_without_the_packages_for_pages_it_says_so_at_once(folder, seen, monkeypatch, capsys) -> None:
    monkeypatch.setitem(sys.modules, "jinja2", None)
    assert main(["evaluate", "counts.toml"]) == 1
    assert "pmg_eval[report]" in capsys.readouterr().err
    assert seen == []


def test_refused_data_are_named_without_a_traceback(folder, capsys) -> None:
    frame = counts()
    frame.loc[3, "suspects"] = -5
    pd.concat([frame, frame.head(1)]).to_csv("counts.csv", index=False)
    assert main(["evaluate", "counts.toml"]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert "PMG-DUPLICATE" in err
    assert "Traceback" not in err
    assert list(folder.glob("counts.html")) == []


def test_ctrl_c_leaves_nothing_half_written(folder) -> None:
    script = (
        "import sys, time; from pmg_eval.cli import _job, main\n"
        "def run(job):\n    sys.stdout.write('started\\n'); sys.stdout.flush(); time.sleep(60)\n"
        "_job.Job.run = run\n"
        "sys.exit(main(['evaluate', 'counts.toml', '--out', 'results']))"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=folder
    )
    try:
        assert child.stdout is not None
        assert child.stdout.readline() == "started\n"
        child.send_signal(signal.SIGINT)
        _, err = child.communicate(timeout=60)
    finally:
        child.kill()
    assert child.returncode == 130
    assert "interrupted" in err
    assert "Traceback" not in err
    assert not (folder / "results").exists()


def test_the_examples_of_the_documentation_run(folder, seen, capsys) -> None:
    page = (Path(__file__).resolve().parents[2] / "docs" / "command_line.md").read_text(encoding="utf-8")
    executed(page, folder)
    blocks = BLOCK.findall(page)
    specs = [code for kind, code in blocks if kind == "toml"]
    for name, code in zip(("castle.toml", "months.toml"), specs, strict=True):
        (folder / name).write_text(code, encoding="utf-8")
        assert main(["check", name]) == 0
        assert main(["evaluate", name, "--quiet"]) == 0
    assert [job.outcome for job in seen] == ["homicides", "verdachten"]
    named = {key for code in specs for key in tomllib.loads(code)["evaluation"]}
    assert named == set(_schema.spec_schema()["properties"]["evaluation"]["properties"])
    commands = [shlex.split(line, comments=True) for kind, code in blocks if kind == "sh" for line in code.splitlines()]
    assert [words[2:] for words in commands if words[0] == "pip"] == [[".[demo]"]]
    checks = [words[1:] for words in commands if words[:2] == ["pmg-eval", "check"]]
    assert len(checks) == 2
    for arguments in checks:
        capsys.readouterr()
        assert main(arguments) == 0
        assert "50 units x 11 periods" in capsys.readouterr().out


# --- specifications --------------------------------------------------------------------------------------------------


def test_all_problems_of_a_specification_at_once(folder, capsys) -> None:
    spec = changed(
        folder,
        ('unit = "code"', 'unti = "code"'),
        ('time = "year"', "time = 3"),
        ('outcome = "suspects"', 'familly = "poisson"'),
        ("draws = 19", 'draws = 0\n[output]\nhtml = "../x.html"\n[extra]\nx = 1'),
    )
    assert main(["evaluate", spec]) == 2
    err = " ".join(capsys.readouterr().err.split())
    for said in (
        "error: 7 problems", "[data] unti is not known. What to do: did you mean unit?",
        "[data] time must be text in quotes, not a whole number", "did you mean family?",
        "[evaluation] outcome is missing", "[evaluation] draws must be 1 or more", "[output] html",
        "extra is not known",
    ):  # fmt: skip
        assert said in err


@pytest.mark.parametrize(
    ("old", "new", "code"),
    [
        ('unit = "code"', "unit = code", "PMG-SPEC-SYNTAX"),
        ('file = "counts.csv"', 'file = "count.csv"', "did you mean counts.csv?"),
        ('file = "counts.csv"', 'file = "counts.toml"', "unknown kind"),
        ('file = "counts.csv"', 'file = "counts.csv"\ndecimal = ","', "same sign"),
        ('file = "counts.csv"', 'file = "counts.csv"\nschema = "x"', "schema is not known"),
        ("[data]", 'schema = "pmg-eval-spec/2"\n[data]', "must be"),
    ],
)
def test_wrong_specifications(folder, capsys, old, new, code) -> None:
    assert main(["evaluate", changed(folder, (old, new))]) == 2
    assert code in " ".join(capsys.readouterr().err.split())


def test_a_specification_that_is_not_there(folder, capsys) -> None:
    assert main(["evaluate", "count.toml"]) == 2
    assert "did you mean counts.toml?" in " ".join(capsys.readouterr().err.split())
    (folder / "counts.toml").write_bytes(b"\xff\xfe")
    assert main(["evaluate", "counts.toml"]) == 2
    assert main(["evaluate", "."]) == 2


def test_the_version_of_the_form_may_be_named(folder, seen) -> None:
    assert main(["evaluate", changed(folder, ("[data]", 'schema = "pmg-eval-spec/1"\n[data]'))]) == 0


VALID: dict[str, Any] = {
    "data": {"file": "x.csv", "unit": "a", "time": "t"},
    "evaluation": {"outcome": "y"},
}
MUTATIONS: list[tuple[tuple[str, ...], Any]] = [
    *((("data", name), value) for name in ("unit", "file", "sep", "date_format") for value in ("", 1, None, ["a"])),
    *((("data", "cluster"), value) for value in ("a", ["a", "b"], [], [1], 1, "")),
    *((("data", "never"), value) for value in (0, 1.5, "missing", True, [0], float("inf"))),
    *((("data", "selection_window"), value) for value in ([1, 2], [1], [1, 2, 3], ["a", "b"], [1.5, 2], "x")),
    *((("data", "neighbors"), value) for value in ({"a": ["b", 1]}, {"a": "b"}, {"a": [1.5]}, [])),
    *((("data", "freq"), value) for value in ("M", "W", 1)),
    *((("evaluation", "draws"), value) for value in (1, 0, -1, 1.5, True, "1")),
    *((("evaluation", "anticipation"), value) for value in (0, -1, True)),
    *((("evaluation", "eligible"), value) for value in (["a", 1], [], [True], "a")),
    *((("evaluation", "outcom"), value) for value in ("y",)),
    *((("spells",), value) for value in (
        {"file": "p.csv", "person": "p", "exit": "e", "event": "d"},
        {"file": "p.csv", "person": "p", "exit": "e", "event": "d", "horizons": [365, "2y"], "group": ["g", "h"]},
        {"file": "p.csv", "person": "p", "exit": "e", "event": "d", "horizons": [0]},
        {"file": "p.csv", "person": "p", "exit": "e", "event": "d", "horizons": []},
        {"file": "p.csv", "person": "p", "exit": "e", "event": "d", "horizons": [730.5]},
        {"file": "p.csv", "person": "p", "exit": "e", "event": "d", "weight_kind": "ip", "time_unit": "days"},
        {"file": "p.csv", "person": "p", "exit": "e"}, [], "x",
    )),
    *((("output", "html"), value) for value in ("a.html", "a.htm", "a.txt", "b/a.html", "b\\a.html", ".html", 1)),
    *((("output", "json"), value) for value in ("a.json", "a.html", "/a.json")),
    *((("schema",), value) for value in ("pmg-eval-spec/1", "pmg-eval-spec/2", 1)),
    *((("data",), value) for value in ([], "x", 1, {})),
]  # fmt: skip


@pytest.mark.parametrize("mutation", MUTATIONS, ids=repr)
def test_the_check_agrees_with_jsonschema(mutation) -> None:
    keys, value = mutation
    document = json.loads(json.dumps(VALID))
    node = document
    for key in keys[:-1]:
        node = node.setdefault(key, {})
    node[keys[-1]] = value
    schema = json.loads(_schema.schema_text("spec"))
    valid = jsonschema.Draft202012Validator(schema).is_valid(document)
    found = _schema.problems(document, schema)
    assert (found == []) == valid, found
    assert all(problem.code.startswith("PMG-SPEC-") for problem in found)


def test_the_schema_has_the_roles_of_panel_and_nothing_else() -> None:
    import inspect

    jsonschema.Draft202012Validator.check_schema(_schema.spec_schema())
    properties = _schema.spec_schema()["properties"]
    reading = {"file", "sep", "decimal", "encoding", "na", "integers", "date_format"}
    assert set(properties["data"]["properties"]) - reading == set(inspect.signature(pe.Panel).parameters) - {"df"}
    reading |= {"horizons"}
    assert set(properties["spells"]["properties"]) - reading == set(inspect.signature(Spells).parameters) - {"df"}
    passed_on = set(properties["evaluation"]["properties"]) - {"outcome", "seed"} | {"spells", "horizons", "n_jobs"}
    assert passed_on <= set(inspect.signature(pe.evaluate).parameters)


# --- reading ---------------------------------------------------------------------------------------------------------


def read(
    text: str | bytes, tmp_path: Path, name: str = "x.csv", dates: tuple[str, ...] = (), **options: Any
) -> pd.DataFrame:
    path = tmp_path / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return _read.read_table(_spec.Source(path, **options), ["code"], dates)


def test_labels_stay_text(tmp_path) -> None:
    frame = read("code,n,t\n0363,1.5,2020\nNA,,2021\n1e5,NA,2022\n", tmp_path)
    assert frame["code"].tolist() == ["0363", "NA", "1e5"]
    assert frame["n"].tolist() == pytest.approx([1.5, np.nan, np.nan], nan_ok=True)
    assert frame["t"].dtype == np.int64


def test_a_label_that_is_not_there_is_missing(tmp_path) -> None:
    assert read("code,n\n,1\nb,2\n", tmp_path)["code"].isna().tolist() == [True, False]


def test_labels_that_are_declared_whole_numbers(tmp_path) -> None:
    assert read("code,n\n0363,1\n518,2\n", tmp_path, integers=("code",))["code"].tolist() == [363, 518]
    with pytest.raises(DataError, match="PMG-INTEGER") as caught:
        read("code,n\n0363,1\nGM12,2\n", tmp_path, integers=("code",))
    assert "GM12" not in str(caught.value)
    with pytest.raises(DataError, match="PMG-COLUMN"):
        read("code,n\n0363,1\n", tmp_path, integers=("cod",))
    with pytest.raises(DataError, match="PMG-INTEGER"):
        read("code,n\n1.5,1\n", tmp_path, integers=("code",))


def test_numbers_are_read_exactly(tmp_path) -> None:
    values = [0.1, 1 / 3, 5.0e-324, 1.7976931348623157e308, 123456.789012345678]
    text = "n\n" + "\n".join(map(repr, values)) + "\n"
    assert read(text, tmp_path)["n"].tolist() == values


def test_semicolons_decimal_commas_and_other_encodings(tmp_path) -> None:
    text = 'code;n;naam\n0363;1,5;"Súdwest; Fryslân"\n'
    frame = read(text.encode("cp1252"), tmp_path, sep=";", decimal=",", encoding="cp1252")
    assert frame.iloc[0].tolist() == ["0363", 1.5, "Súdwest; Fryslân"]
    marked = read("\ufeffcode,n\n1,2\n", tmp_path)
    assert list(marked) == ["code", "n"]
    assert read("code\tn\n01\t2\n", tmp_path, name="x.tsv").iloc[0].tolist() == ["01", 2]


def test_packed_and_parquet_files(tmp_path) -> None:
    frame = counts()
    frame.to_csv(tmp_path / "x.csv.gz", index=False)
    frame.to_parquet(tmp_path / "x.parquet")
    packed = _read.read_table(_spec.Source(tmp_path / "x.csv.gz"), ["code"])
    stored = _read.read_table(_spec.Source(tmp_path / "x.parquet"), ["code"])
    assert packed["code"].tolist() == stored["code"].tolist() == frame["code"].tolist()
    (tmp_path / "y.parquet").write_text("no", encoding="utf-8")
    with pytest.raises(DataError, match="PMG-FILE"):
        _read.read_table(_spec.Source(tmp_path / "y.parquet"), ["code"])


@pytest.mark.parametrize(
    ("text", "code", "fix"),
    [
        ("code;n\n1;2\n", "PMG-CSV", 'sep = ";"'),
        ("code\tn\n1\t2\n", "PMG-CSV", r'sep = "\t"'),
        ("code,n\n1,2\n3,4,5\n", "PMG-CSV", "check sep"),
        ("code,n\n1,2,3\n3,4,5\n", "PMG-CSV", "check sep"),  # pandas would take the first column as an index
        ("code,n,n\n1,2,3\n", "PMG-COLUMN", "rename"),
        ("", "PMG-EMPTY", ""),
        (b"code,n\n\xe9,2\n", "PMG-ENCODING", "cp1252"),
    ],
)
def test_files_that_are_not_what_they_should_be(tmp_path, text, code, fix) -> None:
    with pytest.raises(DataError) as caught:
        read(text, tmp_path)
    assert caught.value.code == code
    assert fix in caught.value.fix


TABLE = "code,n\n0363,1\n"


@pytest.mark.parametrize(
    ("content", "options", "code", "what", "fix"),
    [
        (TABLE.encode("utf-16"), {}, "PMG-ENCODING", "says that it is UTF-16", 'encoding = "utf-16"'),
        (TABLE.encode("utf-16"), {"encoding": "cp1252"}, "PMG-ENCODING", "not cp1252", 'encoding = "utf-16"'),
        (TABLE.encode("utf-32"), {}, "PMG-ENCODING", "UTF-32", 'encoding = "utf-32"'),
        (TABLE.encode("utf-16-le"), {}, "PMG-ENCODING", "every second byte is zero", 'encoding = "utf-16-le"'),
        (TABLE.encode("utf-16-be"), {"encoding": "latin-1"}, "PMG-ENCODING", "second byte", 'encoding = "utf-16-be"'),
        (TABLE.encode("utf-8-sig"), {"encoding": "cp1252"}, "PMG-ENCODING", "it is UTF-8", "leave encoding out"),
        (TABLE.encode(), {"encoding": "utf-16"}, "PMG-ENCODING", "not utf-16 text", "give its encoding"),
        (TABLE.encode(), {"encoding": "utf-61"}, "PMG-ENCODING", "not utf-61 text", "give its encoding"),
        (b"PK\x03\x04" + bytes(90), {}, "PMG-FILE", "Excel workbook", "save the table as CSV"),
        (b"PAR1" + bytes(90), {}, "PMG-FILE", "parquet", ".parquet"),
        (bytes(range(256)) * 4, {}, "PMG-FILE", "zero bytes", "CSV"),
        (gzip.compress(TABLE.encode(), mtime=0), {}, "PMG-FILE", "gzip", ".csv.gz"),
    ],
)
def test_bytes_that_are_no_text_are_told_by_what_they_are(tmp_path, content, options, code, what, fix) -> None:
    with pytest.raises(DataError) as caught:
        read(content, tmp_path, **options)
    assert caught.value.code == code
    assert what in caught.value.what
    assert fix in caught.value.fix
    assert "cp1252" not in caught.value.fix


@pytest.mark.parametrize("encoding", ["utf-16", "UTF_16", "utf-16-le", "utf-16-be", "utf-32", "utf-8-sig", "UTF8"])
def test_other_encodings_are_read_when_they_are_named(tmp_path, encoding) -> None:
    assert read(TABLE.encode(encoding), tmp_path, encoding=encoding)["code"].tolist() == ["0363"]


def test_a_packed_file_is_looked_into(tmp_path) -> None:
    with pytest.raises(DataError, match="UTF-16"):
        read(gzip.compress(TABLE.encode("utf-16"), mtime=0), tmp_path, name="x.csv.gz")
    with pytest.raises(DataError, match="PMG-FILE"):
        read(TABLE, tmp_path, name="x.csv.gz")


def test_missing_numbers_are_declared(tmp_path) -> None:
    text = "code,n\n1,.\n2,<5\n3,7\n"
    assert not pd.api.types.is_numeric_dtype(read(text, tmp_path)["n"])
    assert read(text, tmp_path, na=(".", "<5"))["n"].tolist() == pytest.approx([np.nan, np.nan, 7], nan_ok=True)


def test_dates(tmp_path) -> None:
    roles = {"cohort": "start", "never": 0}
    frame = read("code,t,start\na,2022-01,2022-07-01\nb,2022-02,0\n", tmp_path, dates=("t", "start"), roles=roles)
    assert frame["t"].tolist() == [pd.Timestamp("2022-01-01"), pd.Timestamp("2022-02-01")]
    assert frame["start"].tolist() == [pd.Timestamp("2022-07-01"), np.inf]
    quarters = read("t\n2022Q3\n2022-Q4\n", tmp_path, dates=("t",))["t"]
    assert quarters.tolist() == [pd.Timestamp("2022-07-01"), pd.Timestamp("2022-10-01")]
    dutch = read("t\n31-12-2022\n", tmp_path, dates=("t",), date_format="%d-%m-%Y")["t"]
    assert dutch.tolist() == [pd.Timestamp("2022-12-31")]
    with pytest.raises(DataError, match="PMG-DATE") as caught:
        read("t\n2022-01-01\n31-12-2022\n", tmp_path, dates=("t",))
    assert caught.value.where == ("row 1",)


def test_monthly_data_through_the_command_line(folder, seen, capsys) -> None:
    months = pd.period_range("2021-01", "2022-12", freq="M").strftime("%Y-%m")
    rng = np.random.default_rng(1)
    rows = [(f"{a:03d}", m, "2022-07-01" if a < 2 else "9999-12-31", rng.poisson(9)) for a in range(8) for m in months]
    pd.DataFrame(rows, columns=["a", "m", "from", "n"]).to_csv("months.csv", index=False)
    (folder / "months.toml").write_text(
        '[data]\nfile = "months.csv"\nunit = "a"\ntime = "m"\ncohort = "from"\nfreq = "M"\nnever = 9999-12-31\n'
        'selection_window = [2021-01-01, 2021-06-01]\nneighbors = { 000 = ["001"] }\n[evaluation]\noutcome = "n"\n',
        encoding="utf-8",
    )
    assert main(["check", "months.toml"]) == 0
    assert "2022-07 (2), never treated (6)" in capsys.readouterr().out
    assert main(["evaluate", "months.toml"]) == 0
    panel = seen[0].panel
    assert [str(panel.time_label(code)) for code in panel.selection_window] == ["2021-01", "2021-06"]
    assert panel.neighbors.tolist() == [[0, 1], [1, 0]]


# --- check -----------------------------------------------------------------------------------------------------------

ROLES = ["--unit", "code", "--time", "year", "--cohort", "start", "--never", "missing"]


def test_check_shows_the_panel(folder, capsys) -> None:
    before = sorted(folder.iterdir())
    assert main(["check", "counts.csv", *ROLES, "--exposure", "youth", "--outcome", "suspects"]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert "43 units x 7 periods (2014 to 2020), 301 rows" in out
    assert "2019 (3), never treated (40)" in out
    assert "No problem found." in out
    assert main(["check", "counts.toml"]) == 0
    assert capsys.readouterr().out == out
    assert sorted(folder.iterdir()) == before


def test_check_names_every_problem_and_the_way_out(folder, capsys) -> None:
    frame = counts()
    frame.loc[5, "youth"] = 0
    pd.concat([frame, frame.head(2)]).to_csv("counts.csv", index=False, na_rep="")
    assert main(["check", "counts.csv", *ROLES[:-2], "--exposure", "youth"]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    for said in ("error: 3 problems", "PMG-DUPLICATE", "PMG-EXPOSURE", 'declare never = "missing"'):
        assert said in err


def test_check_finds_what_evaluate_would_refuse(folder, seen, capsys) -> None:
    (folder / "persons.csv").write_text(PERSONS, encoding="utf-8")
    more = 'draws = 19\nanticipation = 99\neligible = ["0310", "0999", "NA"]\n[spells]\nfile = "persons.csv"\n'
    more += 'person = "pseudonym"\nexit = "days"\nevent = "new"\ncause = "kind"\nhorizons = ["2z"]'
    assert main(["check", changed(folder, ("draws = 19", more))]) == 1
    out, err = capsys.readouterr()
    err = " ".join(err.split())
    assert (out, seen) == ("", [])
    for said in ("error: 3 problems", "not in the panel; where: 0999", "99 period(s) before its start", "'2z'"):
        assert said in err
    assert main(["check", changed(folder, ("draws = 19", "draws = 0"))]) == 2
    assert "draws must be 1 or more" in capsys.readouterr().err


def test_check_reports_data_persons_and_options_together(folder, capsys) -> None:
    counts().rename(columns={"suspects": "suspect"}).to_csv("counts.csv", index=False, na_rep="")
    (folder / "persons.csv").write_text(PERSONS.replace("8,365,0", "8,365,2"), encoding="utf-8")
    more = 'eligible = ["0999"]\n[spells]\nfile = "persons.csv"\nperson = "pseudonym"\nexit = "days"\nevent = "new"'
    assert main(["check", changed(folder, ("draws = 19", more))]) == 1
    err = capsys.readouterr().err
    for said in ("error: 3 problems", "did you mean 'suspect'?", "PMG-EVENT", "0999"):
        assert said in err


def test_suppressed_counts_are_advised_in_the_words_of_a_specification(folder, capsys) -> None:
    frame = counts().astype({"suspects": object})
    frame.loc[[3, 8], "suspects"] = ["<5", "1.050"]
    frame.to_csv("counts.csv", index=False, na_rep="")
    assert main(["check", "counts.toml"]) == 1
    err = " ".join(capsys.readouterr().err.split())
    for said in (
        'in 2 cell(s): "<5"; numbers such as "9.999"; where: 0300 in 2017, 0301 in 2015',
        'give [data] na = ["<5"] and declare missing = "pairwise"',
        "if the dot is a thousands separator, write the numbers without it",
    ):
        assert said in err
    assert "na_values" not in err
    frame.drop(index=8).to_csv("counts.csv", index=False, na_rep="")
    assert main(["check", changed(folder, ('unit = "code"', 'na = ["<5"]\nmissing = "pairwise"\nunit = "code"'))]) == 0


def test_labels_with_blanks_are_visible_in_the_message(folder, capsys) -> None:
    counts().replace({"code": {"0305": "0304 "}}).to_csv("counts.csv", index=False, na_rep="")
    assert main(["check", "counts.toml"]) == 1
    err = " ".join(capsys.readouterr().err.split())
    assert '"0304", "0304 "' in err
    assert "strip" not in err


def test_a_selection_window_that_reaches_too_far_is_noted(folder, seen, capsys) -> None:
    window = ('unit = "code"', 'selection_window = [2010, 2016]\nunit = "code"')
    assert main(["evaluate", changed(folder, window)]) == 0
    assert "2010 to 2016 lies partly outside the observed periods (2014 to 2020)" in " ".join(
        capsys.readouterr().out.split()
    )


def test_check_of_an_outcome(folder, capsys) -> None:
    assert main(["check", "counts.csv", *ROLES, "--outcome", "suspect"]) == 1
    assert "did you mean 'suspects'?" in capsys.readouterr().err
    assert main(["check", "counts.csv", *ROLES]) == 0
    assert "No outcome was named" in capsys.readouterr().out


def test_check_passes_every_option_on(folder, monkeypatch) -> None:
    given: dict[str, Any] = {}
    monkeypatch.setattr(_commands, "_check", lambda source, outcome, out: given.update(vars(source)))
    assert main([
        "check", "counts.csv", "--unit", "code", "--time", "year", "--treatment", "on", "--never", "0",
        "--cluster", "a", "b", "--selection-window", "2016", "2019", "--missing", "pairwise",
        "--partial-period", "drop",
        "--sep", ";", "--decimal", ",", "--encoding", "cp1252", "--na", ".", "--integers", "code", "--freq", "Y",
    ]) == 0  # fmt: skip
    assert given.pop("roles") == {
        "unit": "code", "time": "year", "treatment": "on", "never": 0, "cluster": ["a", "b"],
        "selection_window": [2016, 2019], "missing": "pairwise", "partial_period": "drop", "freq": "Y",
    }  # fmt: skip
    assert given == {
        "file": Path("counts.csv"), "sep": ";", "decimal": ",", "encoding": "cp1252", "na": (".",),
        "integers": ("code",), "date_format": "",
    }  # fmt: skip


def test_check_of_a_specification_takes_no_roles(folder, capsys) -> None:
    assert main(["check", "counts.toml", "--unit", "code", "--outcome", "suspects"]) == 2
    assert "--unit, --outcome" in capsys.readouterr().err
    assert main(["check", "counts.csv", "--time", "year"]) == 2
    assert "unit is missing" in capsys.readouterr().err


def test_no_value_of_the_data_is_printed(folder, capsys) -> None:
    frame = counts().assign(note="jansen-1987")
    frame["suspects"] = frame["suspects"].astype(object)
    frame.loc[4, "suspects"] = "jansen-1987"
    frame.to_csv("counts.csv", index=False, na_rep="")
    assert main(["check", "counts.csv", *ROLES, "--outcome", "suspects"]) == 1
    assert main(["check", "counts.csv", *ROLES, "--outcome", "note"]) == 1
    assert main(["check", "counts.csv", *ROLES, "--exposure", "suspects"]) == 1
    out, err = capsys.readouterr()
    assert "jansen" not in out + err


# --- schema, help, version -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["spec", "evaluation", "estimate"])
def test_schema_is_printed_as_shipped(capsys, name) -> None:
    assert main(["schema", name, "--quiet"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["title"] == f"pmg-eval-{name}/1"
    jsonschema.Draft202012Validator.check_schema(printed)


def test_schema_alone_is_that_of_a_specification(capsys) -> None:
    assert main(["schema"]) == 0
    assert json.loads(capsys.readouterr().out)["title"] == "pmg-eval-spec/1"


@pytest.mark.parametrize(
    "arguments",
    [
        *([], ["evalute", "x"], ["schema", "panel"], ["demo", "castel"], ["evaluate"]),
        *(["evaluate", "x", "--n-jobs", "0"], ["demo", "--forc"]),
    ],
)
def test_wrong_command_lines(arguments, capsys) -> None:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    assert capsys.readouterr().err.startswith("usage:")


@pytest.mark.parametrize("command", [[], ["demo"], ["evaluate"], ["check"], ["schema"]])
def test_every_help_lists_the_exit_codes(command, capsys) -> None:
    with pytest.raises(SystemExit) as caught:
        main([*command, "--help"])
    assert caught.value.code == 0
    out = capsys.readouterr().out
    for line in _parser.EXIT_CODES.splitlines():
        assert line in out


def python(*arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "pmg_eval", *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        **options,
    )


def test_as_a_module() -> None:
    run = python("--version")
    assert (run.returncode, run.stdout.strip(), run.stderr) == (0, f"pmg-eval {pe.__version__}", "")
    assert python("evaluate", "not-there.toml").returncode == 2


def test_a_reader_that_has_gone_is_no_error() -> None:
    read_end, write_end = os.pipe()
    os.close(read_end)
    try:
        command = [sys.executable, "-m", "pmg_eval", "schema", "evaluation"]
        run = subprocess.run(command, stdout=write_end, stderr=subprocess.PIPE, text=True, check=False, timeout=120)
    finally:
        os.close(write_end)
    assert (run.returncode, run.stderr) == (0, "")


def test_a_terminal_that_cannot_show_a_sign(folder) -> None:
    counts().replace({"code": {"0304": "0304 Súdwest−Fryslân"}}).to_csv("counts.csv", index=False, na_rep="")
    spec = changed(folder, ('never = "missing"', ""))
    run = python("check", spec, env={**os.environ, "PYTHONIOENCODING": "ascii"}, cwd=folder)
    assert run.returncode == 1
    assert "0304 S?dwest?Frysl?n" in " ".join(run.stderr.split())


# --- progress --------------------------------------------------------------------------------------------------------


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def work() -> None:
    for what in ("placebo areas", "jackknife"):
        for done in range(1, 4):
            _progress.tell(what, done, 3)


def test_progress_is_drawn_on_a_terminal_only() -> None:
    terminal, quiet, file = Terminal(), Terminal(), io.StringIO()
    for stream, silent in ((terminal, False), (quiet, True), (file, False)):
        with _bar.progress(stream, quiet=silent):
            work()
    drawn = terminal.getvalue()
    assert drawn.index("placebo areas") < drawn.index("jackknife")
    assert quiet.getvalue() == file.getvalue() == ""
    work()  # nobody listens any more
    assert terminal.getvalue() == drawn


def test_each_kind_of_work_has_its_bar_and_every_bar_is_closed() -> None:
    bars: list[Any] = []

    class Fake:
        def __init__(self, **options: Any) -> None:
            self.total, self.what, self.n, self.closed = options["total"], options["desc"], 0, False
            bars.append(self)

        def update(self, more: int) -> None:
            self.n += more

        def close(self) -> None:
            self.closed = True

    bar = _bar._Bar(Fake, Terminal())
    for what, done, total in [("a", 1, 3), ("a", 3, 3), ("b", 2, 2), ("b", 1, 2), ("b", 2, 2), ("b", 1, 4)]:
        bar(what, done, total)
    bar.close()
    assert [(each.what, each.n, each.total) for each in bars] == [("a", 3, 3), ("b", 2, 2), ("b", 2, 2), ("b", 1, 4)]
    assert all(each.closed for each in bars)


def test_without_tqdm_nothing_is_drawn(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "tqdm", None)
    terminal = Terminal()
    with _bar.progress(terminal, quiet=False):
        work()
    assert terminal.getvalue() == ""


# --- what is said ----------------------------------------------------------------------------------------------------


def test_labels_cannot_steer_the_terminal() -> None:
    assert "\x1b" not in paragraph("area \x1b[31m", "- ")
    assert "\x1b" not in table(["a"], [["x\x1b[2J"]])
    frame = counts().replace({"code": {"0301": "x\x1b[2J"}})
    panel = pe.Panel(frame, unit="code", time="year", cohort="start", never=None)
    assert "\x1b" not in panel_text(panel)


def test_columns_line_up_for_wide_letters() -> None:
    lines = table(["a", "n"], [["漢字", "1"], ["b", "22"]], frozenset({1})).splitlines()
    assert lines == ["  a      n", "  漢字   1", "  b     22"]


def test_out_keeps_results_and_complaints_apart() -> None:
    stdout, stderr = io.StringIO(), io.StringIO()
    out = Out(stdout, stderr, quiet=True)
    out.say("result")
    out.give("asked for")
    out.complain("why not")
    assert (stdout.getvalue(), stderr.getvalue()) == ("asked for", "why not\n")


# --- demo ------------------------------------------------------------------------------------------------------------


def test_demo_runs_all_by_default_or_those_named(folder, seen, monkeypatch, capsys) -> None:
    made = {name: _demos.Demo(name, lambda: _job.Job(None, "y")) for name in _parser.DEMO_NAMES}  # type: ignore[arg-type]
    monkeypatch.setattr(_demos, "DEMOS", made)
    assert main(["demo"]) == 0
    assert len(seen) == 3
    written = {path.name for path in (folder / "pmg-eval-demo").iterdir()}
    assert written == {f"{name}.{kind}" for name in _parser.DEMO_NAMES for kind in ("html", "json")}
    assert str(folder.resolve() / "pmg-eval-demo" / "texas.html") in capsys.readouterr().out
    assert main(["demo", "texas", "texas", "--out", "other"]) == 0
    assert {path.name for path in (folder / "other").iterdir()} == {"texas.html", "texas.json"}
    assert main(["demo", "castle"]) == 3
    assert len(seen) == 4


def test_the_demos_are_those_of_the_command_line() -> None:
    assert tuple(_demos.DEMOS) == _parser.DEMO_NAMES
    for name in ("castle", "texas"):
        job = _demos.DEMOS[name].make()
        assert job.outcome in job.panel.frame
        treated = np.isfinite(job.panel.cohort).sum()
        assert treated == {"castle": 21, "texas": 1}[name]
