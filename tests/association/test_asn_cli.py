"""The command as a user meets it."""

import io
import subprocess
import sys
import warnings

import numpy as np
import pytest
from jwst.datamodels import ModelLibrary
from shared_survey import link
from tiny_exposures import snake, write_survey

from msa3d_steps.association import scan, table
from msa3d_steps.association.cli import main
from msa3d_steps.cube.inputs import Selection, collect_sources, find_members
from msa3d_steps.cube.pattern import find_pattern

TABLE = """\
  slits at position angle 269.3 deg, offsets in arcsec
                step      1      2      3
   dither     offset  -0.20   0.00  +0.20
        2     +0.075      ●      ·      ●
        1      0.000      ●      ◐      ●

  ● NRS1 and NRS2   ◐ NRS1 only   · missing

! no exposure at step 2, dither 2
! not here, by their numbers: jw02136001001_03101_00005
! no NRS2 file of jw02136001001_03101_00002"""


@pytest.fixture
def holes(tmp_path):
    """Three steps x two dithers; the 5th exposure and NRS2 of the 2nd are missing."""
    folder = tmp_path / "data"
    write_survey(folder, snake(3, 2), kind="cal", without={5, (2, "NRS2")})
    return folder


def test_table(holes):
    """Offsets count from the medians, 0.2 and 0.0 of places at 0, 0.2, 0.4 and 0, 0.075."""
    text = table(scan(holes))
    head, rest = text.split("\n\n", 1)
    assert rest == TABLE
    assert head.splitlines() == [
        "programme  02136, observation 001",
        "instrument NIRSpec MSA, G140H/F100LP, MSA configuration 1",
        "exposures  5 of 1000 s, 1.4 h in all; 9 cal files",
        'pattern    3 steps of 0.200" across the slits x 2 dithers of 0.075" along them',
    ]


def test_wide_pattern_is_folded(tmp_path):
    write_survey(tmp_path, snake(9, 1, step=0.1), kind="cal")
    lines = table(scan(tmp_path), width=60).splitlines()
    assert max(len(line) for line in lines if "●" in line) <= 60
    assert [line.split()[1:] for line in lines if line.strip().startswith("step")] == [
        ["1", "2", "3", "4", "5"],
        ["6", "7", "8", "9"],
    ]


def test_repeated_exposures_are_counted(tmp_path):
    places = snake(2, 1) * 2 + snake(1, 1) * 2
    write_survey(tmp_path, [*places], kind="cal", without={(6, "NRS1")})
    # one visit has the same place four times: they are dithers that are closer than a pixel
    text = table(scan(tmp_path))
    assert "●x3◑" in text
    assert "●●" in text


def test_command(holes, tmp_path, capsys):
    out = tmp_path / "out"
    assert main([str(holes), "-o", str(out)]) == 0
    printed = capsys.readouterr()
    stem = out / "jw02136-o001_nirspec_f100lp-g140h"
    assert TABLE in printed.out
    assert f"next         strun {stem}_msa3d.asdf" in printed.out
    assert printed.err == ""
    assert sorted(p.name for p in out.iterdir()) == [
        f"{stem.name}_asn.json",
        f"{stem.name}_msa3d.asdf",
    ]
    assert main([str(holes), "-o", str(out)]) == 1
    assert "--overwrite" in capsys.readouterr().err
    assert main([str(holes), "-o", str(out), "--overwrite"]) == 0


def test_dry_run_writes_nothing(holes, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    assert main([str(holes), "--dry-run"]) == 0
    assert "not written" in capsys.readouterr().out
    assert main([str(holes), "--dry-run", "-o", "new"]) == 0
    assert sorted(tmp_path.rglob("*")) == before


def test_inputs_are_left_as_they_are(holes, capsys):
    before = {p: (p.read_bytes(), p.stat().st_mtime_ns) for p in holes.iterdir()}
    assert main([str(holes), "-o", str(holes)]) == 0
    assert {p: (p.read_bytes(), p.stat().st_mtime_ns) for p in before} == before


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--grating=PRISM"], "no PRISM"),
        (["--msa-id=4,5"], "no MSA configuration 4, 5"),
        (["--kind=rate"], "no rate files"),
        (["--sources=3"], "no source 3"),
        (["--product-name=a/b"], "no plain name"),
    ],
)
def test_refusals(holes, tmp_path, options, message, capsys):
    out = tmp_path / "out"
    assert main([str(holes), "-o", str(out), *options]) == 1
    printed = capsys.readouterr()
    assert message in printed.err
    assert len(printed.err.splitlines()) == 1
    assert not out.exists()


def test_folder_that_cannot_be_written(holes, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert main([str(holes), "-o", str(tmp_path / "file")]) == 1
    assert "choose another folder with --output" in capsys.readouterr().err


def test_terminal_without_circles(holes, monkeypatch):
    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", stream)
    assert main([str(holes), "-n"]) == 0
    stream.flush()
    text = stream.buffer.getvalue().decode("ascii")
    assert "  2     +0.075      #      .      #" in text
    assert "# NRS1 and NRS2   1 NRS1 only   . missing" in text


def test_help_has_an_example():
    run = subprocess.run(
        [sys.executable, "-m", "msa3d_steps.association.cli", "--help"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert run.stderr == ""
    assert "usage: msa3d_asn" in run.stdout
    assert "msa3d_asn rates --dry-run" in run.stdout


def test_simulated_survey(simulated, tmp_path, capsys):
    """The headers give the pattern that the cube builder finds with the slits themselves."""
    names = [path.name for path in simulated.glob("*_cal.fits")]
    folder = link(simulated, names, tmp_path / "cals")
    assert main([str(folder), "-o", str(tmp_path)]) == 0
    assert "Complete" in capsys.readouterr().out
    survey = scan(folder)
    assert survey.problems == ()
    assert survey.notes == ()
    (asn,) = tmp_path.glob("*_asn.json")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*path information")  # of jwst, as it should
        assert len(ModelLibrary(asn)) == 8
    members = find_members(asn)
    collection = collect_sources(members, Selection())
    assert [s.label for s in collection.sources] == [s.label for s in survey.sources]
    place = {
        frame.path.name: i
        for i, exposure in enumerate(survey.exposures)
        for frame in exposure.frames.values()
    }
    for source in collection.sources:
        pattern = find_pattern(source.cutouts)
        index = [place[c.file] for c in source.cutouts]
        np.testing.assert_array_equal(survey.pattern.step[index], pattern.step)
        np.testing.assert_array_equal(survey.pattern.dither[index], pattern.dither)
        np.testing.assert_allclose(survey.pattern.across[index], pattern.across, atol=2e-3)
        np.testing.assert_allclose(survey.pattern.along[index], pattern.along, atol=2e-3)
