"""Simulated surveys that many tests share, and whether they are still as they were simulated."""

import hashlib
import json

from msa3d_steps.simulate.config import Survey
from msa3d_steps.simulate.survey import write_survey

POINT = {"kind": "point", "across": 0.02, "along": 0.06, "dispersion": 30.0}
SURVEYS = {
    "galaxies": Survey(level="both", noise=False, n_sources=3, steps=2, dithers=2),
    "grating": Survey(
        grating="G140H", level="both", steps=1, dithers=1, shutters=3, noise=False,
        sources=(POINT | {"redshift": 1.66},),
    ),
    "prism": Survey(
        grating="PRISM", level="both", steps=1, dithers=2, noise=False,
        sources=(
            POINT | {"redshift": 9.0},
            POINT | {"redshift": 9.0, "across": -0.03, "along": -0.08},
            {"redshift": 3.0},
        ),
    ),
}  # fmt: skip
"""By name; all noise-free, of both detectors, with rate and cal files."""


def simulate(name, folder):
    """Simulate a survey, and write down what its files are."""
    write_survey(SURVEYS[name], folder)
    (folder / "truth" / "checksums.json").write_text(json.dumps(checksums(folder)))


def assert_untouched(folder):
    """Make sure that a survey is as it was simulated, whatever has used it since."""
    before = json.loads((folder / "truth" / "checksums.json").read_text())
    assert before
    assert checksums(folder) == before


def link(folder, names, into):
    """Make a folder of links to files of a survey."""
    into.mkdir(parents=True, exist_ok=True)
    for name in names:
        (into / name).symlink_to(folder / name)
    return into


def checksums(folder):
    """Give the checksum of each file in a folder."""
    found = {}
    for path in sorted(p for p in folder.iterdir() if p.is_file()):
        with path.open("rb") as file:
            found[path.name] = hashlib.file_digest(file, "blake2b").hexdigest()
    return found
