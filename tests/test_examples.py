"""What README and docs tell users to type: it runs, and its options exist.

Python examples of all pages, and commands that take seconds, run one after the other in one
process on a simulated survey of one source in one exposure of NRS1, whose files have other names
than those of GO-2136 in the docs. Of other commands the options are looked up.
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
DOCS = [
    ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), ROOT / "benchmarks" / "README.md",
]  # fmt: skip
NAMES = {"jw02136": "jw09999", "s000008512": "s000000001", "8512": "1"}
"""Names in the docs, and those of the simulated survey."""

PRODUCT = "jw09999-o001_{}_nirspec_f100lp-g140h"
CUBE = PRODUCT.format("s000000001") + "_s3d.fits"
EXPOSURE = "jw09999001001_03101_00001_nrs1_{}.fits"

STEPS = "cube", "outlier", "pathloss", "background", "relabel", "quicklook"
"""Steps whose commands take seconds. Those of pipelines take minutes, of real data hours."""

NOT_RUN = {
    "--offset_file=": "the offset file of the text is of other exposures",
    "--register=image": "there is no image",
    "msa3d_pathloss asn.json": "these are corrected already",
    "calwebb": "a pipeline",
    "night1": "is not there",
    "blue prism": "needs a survey of two gratings",
}
"""Parts of commands of these steps that are looked up only, and why."""

PREPARE = """
import shutil
from pathlib import Path
from astropy.table import Table
from msa3d_steps import MSA3DCubeStep, MSA3DPathlossStep

MSA3DCubeStep.defaults = {"wavemin": 1.3, "wavemax": 1.36}  # a few channels, with a line
cal, rate, crds = sys.argv[3:6]
cubes = MSA3DCubeStep.call("asn.json", covariance=True, save_results=True)
shutil.copy(cubes[0].meta.filename, "x_s3d.fits")
sky = {"wavelength": [0.9, 1.4, 1.9], "brightness": [0.15, 0.14, 0.13]}
Table(sky).write("sky.ecsv")
Path("jwst_nirspec_pathloss_0002.fits").symlink_to(next(Path(crds).rglob("*pathloss*.fits")))
lossy = MSA3DPathlossStep.call(cal, inverse=True, override_pathloss="jwst_nirspec_pathloss_0002.fits")
lossy.save("x_cal.fits")
Path("x_nrs1_cal.fits").symlink_to(cal)
Path("x_nrs1_rate.fits").symlink_to(rate)
"""  # noqa: E501
"""Makes what examples take for granted."""

RUN_ALL = """
import json, sys, time, traceback, warnings
warnings.simplefilter("ignore")

PREPARE

def run(example, space):
    if isinstance(example, str):
        exec(compile(example, "example", "exec"), space)
        return len(space["cubes"]) if "cubes" in space else None
    import commands
    command, *arguments = example
    if command == "strun":
        return commands.strun_here(*arguments)
    from msa3d_steps.association import cli as asn
    from msa3d_steps.simulate import cli as simulate
    return {"msa3d_asn": asn, "msa3d_simulate": simulate}[command].main(arguments)

outcomes = []
for example in json.load(open(sys.argv[1])):
    before = time.process_time()
    try:
        outcomes.append({"result": run(example, {"__name__": "example"})})
    except BaseException:
        outcomes.append({"error": traceback.format_exc()})
    outcomes[-1]["seconds"] = time.process_time() - before
json.dump(outcomes, open(sys.argv[2], "w"))
""".replace("PREPARE", PREPARE)


def blocks(path, *languages):
    """Fenced blocks of a language that are not marked as not run: heading and text."""
    pattern = re.compile(r"(<!-- not run.*?-->\n)?^( *)```([^\n]*)\n(.*?)^ *```$", re.M | re.S)
    text = path.read_text(encoding="utf-8")
    for match in pattern.finditer(text):
        marked, indent, language, content = match.groups()
        if language in languages and not marked:
            headings = re.findall(r"^#+ (.*)$", text[: match.start()], re.M)
            yield headings[-1], re.sub(f"^{indent}", "", content, flags=re.M)


EXAMPLES = [(path, heading, code) for path in DOCS for heading, code in blocks(path, "python")]


def commands():
    """Lines of shell blocks that start one of the commands: the page, and the words."""
    for path in DOCS:
        for _, text in blocks(path, "", "sh", "bash"):
            for line in text.replace("\\\n", " ").splitlines():
                for part in re.split(r"&&|;", line.strip().removeprefix("$ ")):
                    words = shlex.split(part, comments=True)
                    if words and words[0] in ("strun", "msa3d_asn", "msa3d_simulate"):
                        yield path, words


def is_run(words):
    """Tell whether a command runs in the tests."""
    line = " ".join(words)
    if any(part in line for part in NOT_RUN):
        return False
    if words[0] == "msa3d_asn":
        return any(w in ("rates", "cals") for w in words[1:])
    if words[0] == "msa3d_simulate":
        return "--plan" in words
    return re.sub(r"parameter_refs/(\w+?)(_go2136)?\.asdf", r"\1", words[1]) in {
        f"msa3d_{step}" for step in STEPS
    }


COMMANDS = list(commands())
RUN = list(dict.fromkeys(tuple(words) for _, words in COMMANDS if is_run(words)))


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
    for place in ("rates", "."):
        shutil.copy(survey / "jw09999001001_01_msa.fits", folder / place)
    names = sorted(str(path.relative_to(folder)) for path in folder.glob("cals/*.fits"))
    write_association(folder, names, PRODUCT.format("{source_id}"))
    (folder / "parameter_refs").symlink_to(ROOT / "parameter_refs")
    return folder


def small(words):
    """Give a command that makes cubes a few channels to make."""
    is_cube = words[0] == "strun" and "cube" in words[1] and "--wavemin" not in " ".join(words)
    return [*words, "--wavemin=1.33", "--wavemax=1.335"] if is_cube else list(words)


@pytest.fixture(scope="module")
def outcomes(folder, survey):
    """What became of each example; all run one after the other, in the order of the docs."""
    text = json.dumps([code for *_, code in EXAMPLES] + [small(words) for words in RUN])
    for theirs, ours in NAMES.items():
        text = text.replace(theirs, ours)
    (folder / "examples.json").write_text(text)
    inputs = [f"{kind}s/{EXPOSURE.format(kind)}" for kind in ("cal", "rate")]
    paths = os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, "-c", RUN_ALL, "examples.json", "outcomes.json", *inputs, survey / "crds"],
        cwd=folder, env=os.environ | environment(survey / "crds") | {"PYTHONPATH": paths},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    (folder / "log").write_text(done.stdout + done.stderr)
    return json.loads((folder / "outcomes.json").read_text())


@pytest.mark.parametrize(
    "number", range(len(EXAMPLES)), ids=lambda i: f"{EXAMPLES[i][0].stem}: {EXAMPLES[i][1]}"
)
def test_python_example_runs(outcomes, number):
    """Each example by itself; those that make cubes make one, the pipeline of one's own two."""
    assert "error" not in outcomes[number], outcomes[number]["error"][-3000:]
    expected = 2 if EXAMPLES[number][1] == "In a pipeline of your own" else 1
    assert outcomes[number]["result"] in (expected, None)


@pytest.mark.parametrize("number", range(len(RUN)), ids=lambda i: " ".join(RUN[i])[:90])
def test_command_runs(outcomes, folder, number):
    """Each ends without an error."""
    outcome = outcomes[len(EXAMPLES) + number]
    assert "error" not in outcome, outcome["error"][-3000:]
    assert not outcome["result"], (folder / "log").read_text()[-5000:]


def test_there_are_examples():
    assert len(EXAMPLES) > 25
    assert len(RUN) > 20
    assert {name for name in NOT_RUN if not any(name in " ".join(w) for _, w in COMMANDS)} == set()


def test_what_is_not_run_is_known():
    """Marked blocks need what no test has: the archive, a batch system, a second survey."""
    marks = [m for path in DOCS for m in re.findall(r"<!-- not run: (.*?) -->", path.read_text())]
    assert set(marks) == {"needs the archive", "needs a batch system", "needs two gratings"}


def test_examples_make_what_the_text_says(folder, outcomes):
    """One cube in each of the folders, of the same light."""
    made = {path.parent.name: path for path in folder.glob(f"*/{CUBE}")}
    assert made.pop("offsets")  # a few channels
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


@pytest.mark.parametrize(
    "words", [pytest.param(w, id=f"{path.stem}: {' '.join(w)}"[:90]) for path, w in COMMANDS]
)
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
    found = [" ".join(words) for _, words in COMMANDS]
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
