"""Draw the figures of the documentation: ``python docs/figures/make.py [SURVEY]``.

Without a survey, the one of `common.simulate` is simulated first, which takes a minute.
"""

import sys
import tempfile
from pathlib import Path

import channels
import correlation
import footprint
import pattern
from common import read_source, simulate

IMAGES = Path(__file__).parents[1] / "images"


def main(survey=None):
    """Draw all of them.

    Parameters
    ----------
    survey : str, optional
        Folder of the survey, where it is there already.
    """
    with tempfile.TemporaryDirectory() as folder:
        if survey is None:
            simulate(folder)
        source = read_source(Path(survey or folder))
    cutout = next(c for c in source.cutouts if c.detector == "NRS1")
    footprint.draw(footprint.measure(cutout), IMAGES / "footprint.png")
    pattern.draw(pattern.measure(source), IMAGES / "pattern.png")
    scales = [correlation.measure(source, scale) for scale in correlation.SCALES]
    correlation.draw(scales, IMAGES / "correlation.png")
    channels.draw(channels.measure(source), IMAGES / "channels.png")


if __name__ == "__main__":
    main(*sys.argv[1:])
