"""python -m pmg_eval.verify: the shipped cases hold, what is wrong is found, and nothing else happens."""

import json
import re
import sys
from base64 import urlsafe_b64encode
from collections import Counter
from collections.abc import Callable
from fractions import Fraction
from hashlib import sha256
from html.parser import HTMLParser
from importlib import metadata
from importlib.resources import files
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from pmg_eval import verify
from pmg_eval.errors import DataError
from pmg_eval.verify import Case, Certificate, __main__, _castle, _stored
from pmg_eval.verify._case import digits_of, error_of

EVENTS: list[str] = []
WATCHING = [False]
OUTSIDE = re.compile(
    r"socket|subprocess|os\.(system|exec|posix_spawn|fork|mkdir|remove|rename)|shutil|tempfile|urllib|http"
)


def watch(event: str, arguments: tuple[Any, ...]) -> None:
    """An audit hook stays for the life of the process, so it only looks when asked to."""
    if not WATCHING[0]:
        return
    if OUTSIDE.match(event):
        EVENTS.append(event)
    elif event == "open" and isinstance(arguments[1], str) and set(arguments[1]) & set("wax+"):
        EVENTS.append(f"open {arguments[0]}")


@pytest.fixture(scope="module")
def certificate() -> Certificate:
    """Every shipped case, under observation."""
    sys.addaudithook(watch)
    WATCHING[0] = True
    try:
        return verify.certify()
    finally:
        WATCHING[0] = False


# --- the shipped cases -----------------------------------------------------------------------------------------------


def test_every_shipped_case_passes(certificate: Certificate) -> None:
    assert [(case.id, case.reason) for case in certificate.failed] == []
    assert certificate.passed
    assert sum(case.seconds for case in certificate.cases) < 60


def test_nothing_is_sent_started_or_written(certificate: Certificate) -> None:
    # what Python itself compiles is not written by the library
    assert [event for event in EVENTS if "__pycache__" not in event] == []


def test_what_is_shipped(certificate: Certificate) -> None:
    assert len({case.id for case in certificate.cases}) == len(certificate.cases)
    kinds = Counter(case.kind for case in certificate.cases)
    assert kinds["by hand"] >= 20
    assert kinds["reference"] >= 15
    assert kinds["stored"] >= 5
    numbers = [(case, exact) for case in certificate.cases for exact in case.exact]
    assert len(numbers) >= 250
    assert sum(bool(exact) for _, exact in numbers) >= 80
    for case in certificate.cases:
        assert case.what
        assert case.source.startswith({"by hand": "by hand", "reference": "R ", "stored": "pmg_eval"}[case.kind])
        assert case.digits > 2


def test_wide_tolerances_are_few(certificate: Certificate) -> None:
    """Each with its reason beside it in the sources."""
    wide = {case.id for case in certificate.cases if case.tolerance > 1e-8}
    assert wide == {
        "synth/conformal",
        "reference/bcg-profile",
        "reference/honest-flci",
        "reference/honest-conditional",
        "reference/texas-gaps",
        "reference/texas-jackknife-plus",
    }


def test_published_numbers_are_among_them() -> None:
    """Typed from the published sources, not from the file."""
    shipped = {case.id: case for case in verify.shipped()}
    imputation = shipped["reference/castle-imputation"].expected
    assert (round(float(imputation["overall"]), 8), round(float(imputation["overall SE"]), 8)) == (
        0.07980155,
        0.06088398,
    )
    assert shipped["reference/castle-wild-bootstrap"].expected["11"] == 138 / 512
    assert round(float(shipped["reference/castle-two-stage"].expected["SE"]), 8) == 0.06097899
    assert round(float(shipped["reference/castle-group-time"].expected["simple"]), 8) == 0.11038304
    trials = shipped["reference/bcg-dl-wald"].expected
    assert (round(float(trials["mean"]), 4), round(float(trials["tau2"]), 4)) == (-0.7141, 0.3088)
    assert shipped["inference/wild-bootstrap"].expected["p"] == Fraction(9, 16)


def test_without_causaldata_its_cases_are_not_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_castle, "find_spec", lambda name: None)
    found = verify.certify(cases=_castle.cases())
    assert found.counts == {"pass": 0, "fail": 0, "skipped": len(_castle.cases())}
    assert found.passed
    assert found.cases[0].reason == "the package causaldata is not installed"


def test_other_random_numbers_of_numpy_are_no_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = _stored._canary()
    monkeypatch.setattr(_stored, "_canary", lambda: {**drawn, "gamma": 1.0})
    found = verify.certify(cases=_stored.cases())
    assert found.counts["skipped"] == len(found.cases)
    assert "other random numbers" in found.cases[0].reason


def test_what_a_developer_would_store_is_what_is_stored(monkeypatch: pytest.MonkeyPatch) -> None:
    cheap = ("simulator/areas", "simulator/persons")
    monkeypatch.setattr(_stored, "_COMPUTED", {name: _stored._COMPUTED[name] for name in cheap})
    now, then = json.loads(_stored.renewed()), _stored._stored()
    assert {key: now[key] for key in ("schema", "seed")} == {key: then[key] for key in ("schema", "seed")}
    assert now["canary"] == pytest.approx(then["canary"], rel=1e-12)
    assert now["results"] == {name: pytest.approx(then["results"][name], rel=1e-12) for name in cheap}


# --- one case --------------------------------------------------------------------------------------------------------


def made(compute: Callable[[], dict[str, Any]], expected: dict[str, Any], **more: Any) -> Case:
    return Case("test/case", "by hand", "a case", "by hand", compute, expected, **more)


@pytest.mark.parametrize(
    ("got", "expected", "error", "digits"),
    [
        (1.0, 1.0, 0.0, 15.0), (1.001, 1.0, 1e-3, 3.0), (0.0, 0.0, 0.0, 15.0), (1e-12, 0.0, 1e-12, 12.0),
        (-200.0, -100.0, 1.0, 0.0), (float("nan"), 1.0, float("inf"), 0.0), (float("inf"), 1.0, float("inf"), 0.0),
        (float("inf"), float("inf"), 0.0, 15.0), (1.0 + 2e-16, 1.0, 2.220446049250313e-16, 15.0),
    ],
)  # fmt: skip
def test_digits(got: float, expected: float, error: float, digits: float) -> None:
    assert error_of(got, expected) == pytest.approx(error, rel=1e-9)
    assert digits_of(error_of(got, expected)) == pytest.approx(digits, rel=1e-9)


def test_a_wrong_number_fails() -> None:
    found = verify.check(made(lambda: {"a": 1.0, "b": 2.0}, {"a": 1, "b": Fraction(5, 2)}))
    assert found.status == "fail"
    assert found.reason == "outside the tolerance: b"
    assert found.exact == ("1", "5/2")
    assert found.digits == pytest.approx(0.699, abs=1e-3)


@pytest.mark.parametrize(
    "compute", [lambda: {"a": float("nan")}, dict, lambda: {"a": "x"}, lambda: 1 / 0, lambda: {"a": None}]
)
def test_whatever_goes_wrong_is_a_failed_case(compute: Any) -> None:
    found = verify.check(made(compute, {"a": 1.0}))
    assert found.status == "fail"
    assert found.reason


def test_the_worst_number_decides() -> None:
    case = made(lambda: {"a": 1.0, "b": 1.0001}, {"a": 1, "b": 1}, tolerance=1e-3)
    assert verify.check(case).status == "pass"
    assert verify.check(case).digits == pytest.approx(4.0)


# --- files -----------------------------------------------------------------------------------------------------------


def installed(folder: Path, *, editable: bool = False, record: bool = True) -> tuple[Path, metadata.Distribution]:
    """A package of two files as an installer leaves it."""
    package, info = folder / "pmg_eval", folder / "pmg_eval-9.dist-info"
    (package / "part").mkdir(parents=True)
    info.mkdir()
    (package / "__init__.py").write_text("one\n")
    (package / "part" / "data.json").write_text("{}\n")
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: pmg_eval\nVersion: 9\n")
    if editable:
        (info / "direct_url.json").write_text(json.dumps({"url": "file:///x", "dir_info": {"editable": True}}))
    if record:
        lines = []
        for path in (package / "__init__.py", package / "part" / "data.json"):
            digest = urlsafe_b64encode(sha256(path.read_bytes()).digest()).rstrip(b"=").decode()
            lines.append(f"{path.relative_to(folder).as_posix()},sha256={digest},{path.stat().st_size}")
        lines += ["pmg_eval/__pycache__/__init__.cpython-311.pyc,,", "pmg_eval-9.dist-info/RECORD,,"]
        (info / "RECORD").write_text("\n".join(lines) + "\n")
    return package, metadata.PathDistribution(info)


def test_an_intact_installation(tmp_path: Path) -> None:
    found = verify.installation(*installed(tmp_path))
    assert (found.status, found.compared, found.problems) == ("intact", 2, ())
    assert set(found.hashes) == {"__init__.py", "part/data.json"}


def test_changed_missing_and_added_files_are_found(tmp_path: Path) -> None:
    package, distribution = installed(tmp_path)
    before = verify.installation(package, distribution).digest
    (package / "__init__.py").write_text("two\n")
    (package / "part" / "data.json").unlink()
    (package / "more.py").write_text("\n")
    (package / "__pycache__").mkdir()
    (package / "__pycache__" / "x.pyc").write_text("byte code is made by Python\n")
    found = verify.installation(package, distribution)
    assert found.status == "changed"
    assert found.problems == ("changed: __init__.py", "missing: part/data.json", "not of the wheel: more.py")
    assert found.digest != before


@pytest.mark.parametrize(
    ("options", "reason"),
    [({"editable": True}, "an editable installation"), ({"record": False}, "the installation has no list of hashes")],
)
def test_not_a_wheel(tmp_path: Path, options: dict[str, bool], reason: str) -> None:
    found = verify.installation(*installed(tmp_path, **options))
    assert (found.status, found.reason) == ("not an installed wheel", reason)
    assert len(found.hashes) == 2


def test_another_copy_that_runs_is_not_the_one_that_is_installed(tmp_path: Path) -> None:
    _, distribution = installed(tmp_path)
    elsewhere = tmp_path / "elsewhere" / "pmg_eval"
    elsewhere.mkdir(parents=True)
    assert (
        verify.installation(elsewhere, distribution).reason == "the package that runs is not the one that is installed"
    )


def test_no_distribution(monkeypatch: pytest.MonkeyPatch) -> None:
    def nothing(name: str) -> Any:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "distribution", nothing)
    found = verify.installation()
    assert (found.status, found.reason) == ("not an installed wheel", "no distribution of this name is installed")
    assert "verify/reference.json" in found.hashes


# --- the certificate -------------------------------------------------------------------------------------------------


def test_json_follows_its_schema(certificate: Certificate) -> None:
    text = certificate.to_json()
    schema = json.loads(files("pmg_eval.verify").joinpath("certificate-1.json").read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator.check_schema(schema)
    content = json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    jsonschema.Draft202012Validator(schema).validate(content)
    assert content["passed"] is True
    assert content["counts"]["pass"] == len(content["cases"])
    assert content["seeds"] == {"simulator": 20_261_124}
    assert {"numpy", "pandas", "scipy"} <= content["versions"].keys()
    assert re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00$", content["date"])
    assert len(content["files"]["sha256"]) > 100
    hand = next(case for case in content["cases"] if case["id"] == "did/imputation")
    assert {"name": "event time 0", "expected": 43 / 12, "exact": "43/12"}.items() <= hand["numbers"][-1].items()


def test_digest_does_not_depend_on_the_time(certificate: Certificate) -> None:
    chosen = [case for case in verify.shipped() if case.id in ("did/imputation", "did/group-time-cells")]
    one, two = (verify.certify(cases=chosen) for _ in range(2))
    assert one.digest == two.digest != certificate.digest


class Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: Counter[str] = Counter()
        self.text: list[str] = []
        self.risky: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1
        self.risky += [
            f"{tag} {name}={value}"
            for name, value in attrs
            if name.startswith("on") or (name in ("href", "src") and not (value or "").startswith("#"))
        ]

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def test_page_is_inert_and_complete(certificate: Certificate) -> None:
    reader = Reader()
    reader.feed(certificate.to_html())
    assert not {"script", "iframe", "object", "embed", "link", "img", "form"} & set(reader.tags)
    assert reader.risky == []
    text = "".join(reader.text)
    assert "Passed." in text
    for case in certificate.cases:
        assert case.id in text
    assert reader.tags["details"] == len(certificate.cases)


@pytest.mark.parametrize(
    "bad", ["<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "' onmouseover='x", "&lt;b"]
)
def test_text_is_escaped_everywhere(bad: str) -> None:
    case = Case(f"own/{bad}", "own", bad, bad, lambda: {bad: 1.0}, {bad: 2.0})
    found = verify.certify(cases=[case])
    reader = Reader()
    reader.feed(found.to_html())
    clean = Reader()
    clean.feed(verify.certify(cases=[Case("own/x", "own", "x", "x", lambda: {"x": 1.0}, {"x": 2.0})]).to_html())
    assert reader.tags == clean.tags
    assert reader.risky == []
    assert bad in "".join(reader.text)
    assert "Not passed." in "".join(reader.text)


# --- cases of the user -----------------------------------------------------------------------------------------------

OWN: dict[str, Any] = {
    "id": "pilot",
    "what": "our pilot study",
    "source": "a spreadsheet",
    "estimator": "did.imputation",
    "panel": {"unit": "area", "time": "year", "cohort": "start", "never": 0},
    "data": {
        "area": ["A", "A", "B", "B", "C", "C"],
        "year": [1, 2, 1, 2, 1, 2],
        "start": [2, 2, 0, 0, 0, 0],
        "y": [1, 9, 2, 3, 4, 7],
    },
    "outcome": "y",
    "average": "overall",
    "expected": [{"value": 6}],
}


def written(folder: Path, *cases: Any, schema: str = "pmg-eval-cases/1") -> Path:
    path = folder / "cases.json"
    path.write_text(json.dumps({"schema": schema, "cases": list(cases)}), encoding="utf-8")
    return path


def test_own_cases(tmp_path: Path) -> None:
    by_time = OWN | {
        "id": "by event time",
        "average": "event_time",
        "expected": [
            {"value": 6, "where": {"event_time": 0}},
            {"value": 7.5, "field": "estimate", "where": {"event_time": 0, "estimand": "att"}},
        ],
    }
    text = OWN | {"id": "as text", "data": {"csv": "area,year,start,y\nA,1,2,1\nA,2,2,9\nB,1,0,2\nB,2,0,3\n"},
                  "expected": [{"value": 7}]}  # fmt: skip
    found = verify.certify(verify.read(written(tmp_path, OWN, by_time, text)), cases=())
    assert [(case.id, case.status) for case in found.cases] == [
        ("own/pilot", "pass"), ("own/by event time", "fail"), ("own/as text", "pass")
    ]  # fmt: skip
    assert found.cases[1].reason == "outside the tolerance: estimate event_time 0, estimand att"
    assert not found.passed


def without(name: str) -> dict[str, Any]:
    return {key: value for key, value in OWN.items() if key != name}


@pytest.mark.parametrize(
    ("case", "words"),
    [
        ([], "a case is an object"),
        (without("id"), "'id' is missing"),
        (without("expected"), "'expected' is missing"),
        (OWN | {"expectd": 1}, "unknown key 'expectd'"),
        (OWN | {"estimator": "did.twfee"}, "unknown estimator 'did.twfee'"),
        (OWN | {"outcome": 3}, "'outcome' must be text"),
        (OWN | {"panel": []}, "'panel' must be an object"),
        (OWN | {"panel": {"units": "area"}}, "unknown role 'units'"),
        (OWN | {"average": "median"}, "'average' must be one of"),
        (OWN | {"tolerance": 0}, "'tolerance' must be a number"),
        (OWN | {"tolerance": True}, "'tolerance' must be a number"),
        (OWN | {"data": {"area": [1], "y": [1, 2]}}, "columns of equal length"),
        (OWN | {"data": {}}, "columns of equal length"),
        (OWN | {"expected": []}, "'expected' must be a list"),
        (OWN | {"expected": [{"field": "estimate"}]}, "has the keys value, field, where"),
        (OWN | {"expected": [{"value": "6"}]}, "'6' is no finite number"),
        (OWN | {"expected": [{"value": float("inf")}]}, "inf is no finite number"),
        (OWN | {"expected": [{"value": 6, "field": "se"}]}, "unknown field 'se'"),
        (OWN | {"expected": [{"value": 6, "where": 0}]}, "'where' must be an object"),
        (OWN | {"expected": [{"value": 6}, {"value": 7}]}, "'estimate' is expected twice"),
    ],
)
def test_malformed_cases_are_named(tmp_path: Path, case: Any, words: str) -> None:
    with pytest.raises(DataError, match=re.escape(words)) as refused:
        verify.read(written(tmp_path, case))
    assert refused.value.code == "PMG-CASES"
    assert "case 1" in str(refused.value)


def test_malformed_files_are_named(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    for content in (b"{", b"\xff\xfe{}"):
        path.write_bytes(content)
        with pytest.raises(DataError, match="PMG-FILE"):
            verify.read(path)
    with pytest.raises(DataError, match="PMG-FILE"):
        verify.read(tmp_path / "nowhere.json")
    with pytest.raises(DataError, match="PMG-CASES"):
        verify.read(written(tmp_path, schema="other"))
    with pytest.raises(DataError, match="the same id"):
        verify.read(written(tmp_path, OWN, OWN))


def test_wrong_data_are_a_failed_case(tmp_path: Path) -> None:
    several = OWN | {"average": "event_time", "expected": [{"value": 6, "where": {"estimand": "none"}}]}
    nothing = OWN | {"id": "2", "panel": {"unit": "area", "time": "year", "cohort": "nowhere"}}
    found = verify.certify(verify.read(written(tmp_path, several, nothing)), cases=())
    assert [case.status for case in found.cases] == ["fail", "fail"]
    assert "0 rows fit" in found.cases[0].reason
    assert "PMG-COLUMN" in found.cases[1].reason


# --- the command -----------------------------------------------------------------------------------------------------


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """The command with one shipped case."""
    whole = verify.certify
    case = verify.shipped()[0]
    monkeypatch.setattr(__main__, "certify", lambda own, tell: whole(own, cases=[case], tell=tell))


@pytest.mark.usefixtures("few")
def test_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page, numbers = tmp_path / "c.html", tmp_path / "c.json"
    arguments = ["--html", str(page), "--json", str(numbers), "--cases", str(written(tmp_path, OWN))]
    assert __main__.main(arguments) == 0
    said = capsys.readouterr().out
    assert "own/pilot" in said
    assert "2 passed, 0 failed, 0 not run" in said
    assert json.loads(numbers.read_text(encoding="utf-8"))["counts"]["pass"] == 2
    assert "own/pilot" in page.read_text(encoding="utf-8")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["c.html", "c.json", "cases.json"]
    before = numbers.read_bytes()
    assert __main__.main(arguments) == 2  # files are not overwritten
    assert "PMG-EXISTS" in capsys.readouterr().err
    assert numbers.read_bytes() == before
    assert __main__.main([*arguments, "--force", "--quiet"]) == 0
    assert "did/two-by-two" not in capsys.readouterr().out


@pytest.mark.usefixtures("few")
def test_a_failure_is_the_exit_code(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = written(tmp_path, OWN | {"expected": [{"value": 5}]})
    assert __main__.main(["--cases", str(path), "--quiet"]) == 1
    assert "FAILED own/pilot: outside the tolerance" in capsys.readouterr().out


@pytest.mark.usefixtures("few")
def test_a_changed_file_is_a_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package, distribution = installed(tmp_path)
    (package / "__init__.py").write_text("two\n")
    changed = verify.installation(package, distribution)
    monkeypatch.setattr("pmg_eval.verify._certificate.installation", lambda: changed)
    page = tmp_path / "c.html"
    assert __main__.main(["--quiet", "--html", str(page)]) == 1
    assert "changed: __init__.py" in page.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "arguments",
    [
        ["--json", "{0}"],
        ["--html", "{0}/no/c.html"],
        ["--cases", "{0}/no.json"],
        ["--html", "{0}/c", "--json", "{0}/c"],
    ],
)
def test_paths_are_refused_before_the_work(
    tmp_path: Path, arguments: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(__main__, "certify", lambda *_, **__: pytest.fail("the work was begun"))
    assert __main__.main([part.format(tmp_path) for part in arguments]) == 2
    assert "[PMG-" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_the_certificate_is_printed_in_a_line_and_its_landmarks_have_names_of_their_own(
    certificate: Certificate,
) -> None:
    assert repr(certificate).startswith(f"Certificate of pmg_eval {certificate.version}, {certificate.date}: passed (")
    assert len(repr(certificate)) < 200
    page = certificate.to_html()
    headings = re.findall(r"<h2[^>]*>([^<]*)</h2>", page)
    assert not set(headings) & set(re.findall(r'aria-label="([^"]*)"', page))


def test_only_cases_can_be_certified() -> None:
    for given in ("did/imputation", 3, [3], [None]):
        with pytest.raises(DataError, match=r"PMG-CASES.*verify\.read"):
            verify.certify(cases=given)  # type: ignore[arg-type]
    with pytest.raises(DataError, match="there is no case to run"):
        verify.certify(cases=[])
