"""A simulated source without and with cosmic rays, of the same noise, and what is true of it."""

import pickle
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from msa3d_steps.cube.inputs import Selection
from msa3d_steps.cube.reading import cutouts_of_model
from msa3d_steps.cube.sources import Source
from msa3d_steps.simulate.bench import prepare
from msa3d_steps.simulate.config import Survey
from msa3d_steps.simulate.detector.exposing import expose
from msa3d_steps.simulate.exposure import cal_model
from msa3d_steps.simulate.outliers import know_pixels, middle_dithers, score_flags

DETECTOR = "NRS1"
SURVEY = Survey(
    n_sources=1, steps=1, dithers=7, dither=0.075, shutters=3, cosmic_rays=True, seed=3,
    sources=(
        {
            "redshift": 1.12, "scale_length": 0.12,
            "clumps": [[0.096, 0.036, 0.05], [-0.06, 0.12, 0.05]],
        },
    ),
)  # fmt: skip
"""Lines from H-beta to [SII] fall on one detector, which alone is made. With this seed cosmic rays
fall on H-beta, [OIII]5007 and H-alpha. A source that one slit holds would be far more compact."""


@dataclass(frozen=True)
class CosmicPair:
    """A source without and with cosmic rays.

    Attributes
    ----------
    galaxy : Galaxy
        The truth.
    clean, hits : Source
        The two.
    known : list of KnownPixels
        What is true of the cutouts.
    """

    galaxy: object
    clean: Source
    hits: Source
    known: list

    def middle(self, n_dithers):
        """Keep the middle dithers alone."""
        if n_dithers == len(self.known):
            return self
        hits = middle_dithers(self.hits, n_dithers)
        kept = {c.file for c in hits.cutouts}
        known = [k for k, c in zip(self.known, self.hits.cutouts, strict=True) if c.file in kept]
        return CosmicPair(self.galaxy, middle_dithers(self.clean, n_dithers), hits, known)

    def score(self, masks):
        """Count what flags on the one with cosmic rays find, and flag in vain."""
        return score_flags(self.known, masks)

    def score_clean(self, masks):
        """Count what flags on the one without cosmic rays flag in vain."""
        return score_flags([known.without_hits() for known in self.known], masks)


def make_pair(survey=SURVEY):
    """Simulate both; one process, nothing is written."""
    with tempfile.TemporaryDirectory() as folder:
        bench = prepare(survey, folder, Path(folder) / "msa.fits")
    quiet = replace(bench.noise, cosmic_ray_rate=0.0)
    galaxy = bench.scene.sources[0]
    entries, known = ([], []), []
    for name in (n for n in bench.names() if n.detector == DETECTOR):
        (slit,), responses = bench.slits[DETECTOR], bench.responses[DETECTOR]
        brightness = bench.brightness(name)
        rate = bench.rate(name, brightness)
        for noise, made in zip((quiet, bench.noise), entries, strict=True):
            exposed = expose(rate, survey.exposure_time, DETECTOR, noise, survey.seed, name.number)
            model = cal_model(
                bench.metadata(name), name, [slit], exposed, responses, bench.to_sky(name)
            )
            made += cutouts_of_model(name.file("cal"), model, Selection()).entries
        hit = exposed.cosmic_rays[slit.window]
        clean, hits = (made[-1].cutout for made in entries)
        known.append(know_pixels(clean, hits, galaxy, brightness[0].astype(np.float32), hit))
    return CosmicPair(galaxy, *(_source(made) for made in entries), known)


def _source(entries):
    source = entries[0].source
    return replace(source, cutouts=[e.cutout for e in entries], headers=[e.header for e in entries])


def write_pair(folder):
    """Simulate and keep it for other processes."""
    folder.mkdir()
    (folder / "pair.pickle").write_bytes(pickle.dumps(make_pair()))


def read_pair(folder):
    """Read what `write_pair` has written."""
    return pickle.loads((folder / "pair.pickle").read_bytes())  # noqa: S301 - written above
