"""What README and docs tell users to type: it runs, and its options exist.

Python examples run on a simulated survey of one source in one exposure of NRS1, whose files have
other names than those of GO-2136 in the docs.
"""

import argparse
import ast
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import yaml
from astropy.io import fits
from astropy.table import Table
from conftest import write_association
from stpipe import Step, config_parser
from stpipe.utilities import import_class, resolve_step_class_alias

from msa3d_steps.association.cli import _parser as parser_of_asn
from msa3d_steps.datamodels.runfile import read_run_inputs
from msa3d_steps.simulate.cli import _parser as parser_of_simulate
from msa3d_steps.simulate.references.crds import environment

ROOT = Path(__file__).parents[1]
DOCS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
WITH_EXAMPLES = [ROOT / "README.md", ROOT / "docs" / "python.md", ROOT / "docs" / "pipelines.md"]

NAMES = {"jw02136": "jw09999", "s000008512": "s000000001", "8512": "1"}
"""Names in the docs, and those of the simulated survey."""

PRODUCT = "jw09999-o001_{}_nirspec_f100lp-g140h"
CUBE = PRODUCT.format("s000000001") + "_s3d.fits"

RUN_ALL = """
import json, sys, traceback, warnings
warnings.simplefilter("ignore")
outcomes = []
for code in json.load(open(sys.argv[1])):
    space = {"__name__": "example"}
    try:
        exec(compile(code, "example", "exec"), space)
        outcomes.append({"cubes": len(space["cubes"]) if "cubes" in space else None})
    except BaseException:
        outcomes.append({"error": traceback.format_exc()})
json.dump(outcomes, open(sys.argv[2], "w"))
"""


def blocks(path, *languages):
    """Fenced blocks of a language that are not marked as not run: heading and text."""
    pattern = re.compile(r"(<!-- not run.*?-->\n)?^( *)```(\w*)\n(.*?)^ *```$", re.M | re.S)
    text = path.read_text(encoding="utf-8")
    for match in pattern.finditer(text):
        marked, indent, language, content = match.groups()
        if language in languages and not marked:
            headings = re.findall(r"^#+ (.*)$", text[: match.start()], re.M)
            yield headings[-1], re.sub(f"^{indent}", "", content, flags=re.M)


EXAMPLES = [
    pytest.param(i, heading, id=f"{path.stem}: {heading}")
    for i, (path, heading) in enumerate(
        (path, heading) for path in WITH_EXAMPLES for heading, _ in blocks(path, "python")
    )
]


@pytest.fixture(scope="module")
def survey(survey_folder):
    return survey_folder("grating")


@pytest.fixture(scope="module")
def folder(survey, tmp_path_factory):
    """Folders rates and cals, an association of cals, and what the examples made of them."""
    folder = tmp_path_factory.mktemp("examples")
    for kind in ("rate", "cal"):
        (folder / f"{kind}s").mkdir()
        for path in survey.glob(f"*_nrs1_{kind}.fits"):
            shutil.copy(path, folder / f"{kind}s")
    shutil.copy(survey / "jw09999001001_01_msa.fits", folder / "rates")
    names = sorted(str(path.relative_to(folder)) for path in folder.glob("cals/*.fits"))
    write_association(folder, names, PRODUCT.format("{source_id}"))
    return folder


@pytest.fixture(scope="module")
def outcomes(folder, survey):
    """What became of each Python example; all run one after the other, in the order of the docs."""
    codes = [code for path in WITH_EXAMPLES for _, code in blocks(path, "python")]
    for theirs, ours in NAMES.items():
        codes = [code.replace(theirs, ours) for code in codes]
    (folder / "codes.json").write_text(json.dumps(codes))
    done = subprocess.run(
        [sys.executable, "-c", RUN_ALL, "codes.json", "outcomes.json"], cwd=folder,
        env=os.environ | environment(survey / "crds"), capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads((folder / "outcomes.json").read_text())


@pytest.mark.parametrize(("number", "heading"), EXAMPLES)
def test_python_example_runs(outcomes, number, heading):
    """Each example by itself; those that make cubes make one, the pipeline of one's own two."""
    assert "error" not in outcomes[number], outcomes[number]["error"][-3000:]
    expected = 2 if heading == "In a pipeline of your own" else 1
    assert outcomes[number]["cubes"] in (expected, None)


def test_there_are_examples():
    assert len(EXAMPLES) > 10


def test_examples_make_what_the_text_says(folder, outcomes):
    """One cube in each of the folders, of the same light."""
    made = {path.parent.name: path for path in folder.glob(f"*/{CUBE}")}
    assert set(made) == {"cubes", "fine_cubes", "cubes_of_cals", "from_asn", "spec3"}
    with fits.open(made["fine_cubes"]) as file:
        assert file["SCI"].header["CDELT2"] * 3600 == pytest.approx(0.05)
    data = {name: fits.getdata(path, "SCI") for name, path in made.items()}
    brightest = np.nanmax(data["from_asn"])
    assert brightest > 1
    for name in ("cubes", "cubes_of_cals", "spec3"):
        np.testing.assert_allclose(
            data[name], data["from_asn"], rtol=2e-3, atol=2e-3 * brightest, equal_nan=True
        )
    cal = "jw09999001001_03101_00001_nrs1_cal.fits"
    assert (folder / "calibrated" / cal).exists()
    assert (folder / "spec2" / cal).exists()
    assert (folder / "spec2" / "jw09999001001_01_relabel_msa.fits").exists()
    run = folder / "cubes" / (PRODUCT.format("x").replace("_x", "") + "_msa3d")
    summary = Table.read(run / "summary.ecsv")
    text = (ROOT / "docs" / "python.md").read_text()
    assert all(f"`{column}`" in text for column in summary.colnames)
    assert {path.name for path in run.iterdir()} - {".lock", "unfinished"} <= {
        name.strip().strip("/")
        for name in re.findall(r"^\| `  (\S+)` \|", (ROOT / "docs/pipelines.md").read_text(), re.M)
    }


@pytest.mark.parametrize(
    "path", [p for p in DOCS if list(blocks(p, "yaml"))], ids=lambda path: path.stem
)
def test_run_files_in_the_text_are_valid(path, tmp_path):
    """Each is a run file of ours whose steps and parameters exist."""
    for _, text in blocks(path, "yaml"):
        file = tmp_path / "config.asdf"
        file.write_text(text)
        assert read_run_inputs(file).members
        step = Step.from_config_file(str(file))
        for entry in yaml.safe_load(re.sub(r"(?m)^[#%].*\n|^--- .*\n|^\.\.\.\n", "", text))[
            "steps"
        ]:
            member = getattr(step, entry["name"])
            for name, value in entry["parameters"].items():
                assert getattr(member, name) == value


def commands():
    """Lines of shell blocks that start one of the commands, with their arguments."""
    for path in DOCS:
        for _, text in blocks(path, "", "sh", "bash"):
            for line in text.replace("\\\n", " ").splitlines():
                for part in re.split(r"&&|;", line.strip().removeprefix("$ ")):
                    words = shlex.split(part, comments=True)
                    if words and words[0] in ("strun", "msa3d_asn", "msa3d_simulate"):
                        yield pytest.param(words, id=f"{path.stem}: {' '.join(words)}"[:90])


@cache
def options_of(target):
    """Parameters that strun knows for a step, a pipeline or a parameter file of ours."""
    if target.endswith(".asdf"):
        kept = ROOT / target
        if kept.exists():
            target = config_parser.load_config_file(str(kept))["class"]
        else:  # a run file of the text: of the pipeline, or written by msa3d_simulate
            target = "msa3d_cube" if "msa3d_cube" in target else "msa3d"
    spec = import_class(resolve_step_class_alias(target), Step).load_spec_file()

    def flat(section, above=""):
        for name, value in section.items():
            if isinstance(value, dict):
                yield from flat(value, f"{above}{name}.")
            else:
                yield above + name

    return {*flat(spec), "help", "log-level", "log-file", "save-parameters", "verbose"}


@pytest.mark.parametrize("words", list(commands()))
def test_command_has_these_options(words, monkeypatch):
    command, *arguments = words
    if command == "strun":
        names = {a[2:].partition("=")[0] for a in arguments if a.startswith("--")}
        assert names <= options_of(arguments[0]), names - options_of(arguments[0])
        return

    def fail(parser, message):
        raise AssertionError(message)

    monkeypatch.setattr(argparse.ArgumentParser, "error", fail)
    parser = {"msa3d_asn": parser_of_asn, "msa3d_simulate": parser_of_simulate}[command]()
    if arguments != ["--help"]:
        parser.parse_args(arguments)


def test_commands_are_found():
    found = [" ".join(p.values[0]) for p in commands()]
    assert len(found) > 25
    for start in ("strun msa3d ", "strun msa3d_spec3 ", "msa3d_asn ", "msa3d_simulate "):
        assert any(line.startswith(start) for line in found), start


def test_unknown_options_are_found_out():
    assert "steps.cube.scalexy" in options_of("msa3d")
    assert "scalexy" not in options_of("msa3d")
    assert "steps.spec2.steps.barshadow.skip" in options_of("config.asdf")


def messages():
    """Texts in the source; what is put into them is an ellipsis."""
    for path in (ROOT / "msa3d_steps").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.JoinedStr):
                parts = (v.value if isinstance(v, ast.Constant) else "..." for v in node.values)
                yield "".join(parts)
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield node.value


def test_messages_in_the_text_are_ours():
    """The table of errors quotes what the package says."""
    text = (ROOT / "docs" / "pipelines.md").read_text(encoding="utf-8")
    table = text[text.index("## When something goes wrong") :]
    quoted = re.findall(r"^\| `([^`]+)` \|", table, re.M)
    assert len(quoted) > 10
    ours = "\n".join(messages())
    unknown = [q for q in quoted if q.removesuffix("...").strip() not in ours]
    assert not unknown


@pytest.mark.parametrize("path", DOCS, ids=lambda path: path.stem)
def test_links_lead_somewhere(path):
    for target, anchor in re.findall(r"\]\((?!https?:)([^)#]*)#?([^)]*)\)", path.read_text()):
        file = path.parent / target if target else path
        assert file.exists(), target
        headings = re.findall(r"^#+ (.*)$", file.read_text(), re.M) if anchor else []
        anchors = {re.sub(r"[^\w -]", "", h.lower()).replace(" ", "-") for h in headings}
        assert not anchor or anchor in anchors, anchor
