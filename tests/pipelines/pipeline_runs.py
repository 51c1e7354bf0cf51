"""Runs of the pipelines on the simulated survey, and what they leave."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from astropy.io import fits
from conftest import write_association

from msa3d_steps.simulate.references.crds import environment

PRODUCT = "jw09999-o001_{source_id}_nirspec_f100lp-g140h"
PLACE = "jw09999-o001_nirspec_f100lp-g140h_msa3d"
LABELS = ["s000000001", "s000000002", "s000000003"]
WINDOW = {"wavemin": 1.20, "wavemax": 1.21}  # um; a narrow cube costs little
NARROW = {"cube": WINDOW, "quicklook": {"skip": True}}  # no pictures, either
OF_THE_MOMENT = ("DATE",)
long = pytest.mark.skipif(
    not os.environ.get("MSA3D_LONG"), reason="set MSA3D_LONG=1: it takes long"
)
STRUN = [str(Path(sys.executable).with_name("strun"))]
STRUN_IN_PROCESSES = [
    sys.executable, "-c",
    "import sys; from msa3d_steps.pipelines import limits; from stpipe._cli.strun import main; "
    "limits.WORTHWHILE = 0; sys.argv[0] = 'strun'; sys.exit(main())",
]  # fmt: skip
"""strun that begins processes for little work, too."""


def files(folder, kind):
    """List the exposures of a kind."""
    return sorted(folder.glob(f"jw*_{kind}.fits"))


def association(folder, members, product=PRODUCT):
    """Write an association into a folder, of files anywhere; returns its path."""
    folder.mkdir(parents=True, exist_ok=True)
    return write_association(folder, members, product)


def linked(survey, folder, kind="cal", detector="nrs"):
    """Make a folder in which each exposure and the metafile is a link that can be replaced."""
    folder.mkdir()
    members = [path for path in files(survey, kind) if detector in path.name]
    for path in [*members, *survey.glob("*_msa.fits")]:
        (folder / path.name).symlink_to(path)
    return association(folder, [path.name for path in members])


def replaced(link, change):
    """Replace a link by a copy that is changed; ``change(hdus)``."""
    original = link.resolve()
    link.unlink()
    with fits.open(original) as hdus:
        change(hdus)
        hdus.writeto(link)


def truncated(link):
    """Replace a link by the first half of what it links to."""
    content = link.resolve().read_bytes()
    link.unlink()
    link.write_bytes(content[: len(content) // 2])


def strun(survey, *arguments, command=STRUN, **options):
    """Start strun with no variables but those of the survey's cache; returns the process."""
    variables = {"PATH": os.environ["PATH"], "HOME": str(survey.parent)}
    variables |= environment(survey / "crds")
    return subprocess.Popen(
        [*command, *map(str, arguments)], env=variables, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, **options,
    )  # fmt: skip


def finished(process):
    """Wait for a process; returns its exit status and what it said."""
    said, _ = process.communicate()
    return process.returncode, said


def window():
    """Give what makes narrow cubes and no pictures, as options of strun."""
    options = [f"--steps.cube.{name}={value}" for name, value in WINDOW.items()]
    return [*options, "--steps.quicklook.skip=true"]


def cubes_in(folder):
    """Find the cubes in a folder by label."""
    return {path.name.split("_")[1]: path for path in sorted(folder.glob("*_s3d.fits"))}


def bits(path):
    """Give every array, table and keyword of a cube's file, but its tree and its date."""
    with fits.open(path) as hdus:
        return {
            (hdu.name, hdu.ver): (
                None if hdu.data is None else hdu.data.tobytes(),
                [str(c) for c in hdu.header.cards if c.keyword not in OF_THE_MOMENT],
            )
            for hdu in hdus
            if hdu.name != "ASDF"
        }


def assert_same_cubes(folder, other):
    """Make sure that two folders have the same cubes, bit for bit."""
    ours, theirs = cubes_in(folder), cubes_in(other)
    assert set(ours) == set(theirs)
    assert ours
    for label, path in ours.items():
        mine, yours = bits(path), bits(theirs[label])
        assert set(mine) == set(yours)
        assert len(mine) == 11
        for hdu, (data, cards) in mine.items():
            assert data == yours[hdu][0], f"{label} {hdu}"
            assert cards == yours[hdu][1], f"{label} {hdu}"


def everything_in(folder):
    """List all files below a folder by their relative paths."""
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if not path.is_dir()}


def times_of(folder, pattern):
    """Give name and time of the last change of files below a folder."""
    return {p.name: p.stat().st_mtime_ns for p in folder.glob(pattern) if p.name[0] != "."}
