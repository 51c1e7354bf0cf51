"""How long the cutouts of a cal file take: by stdatamodels' models, and by read_exposure.

    python benchmarks/opening.py FILE [FILE ...]

The files may be of any survey (``msa3d_simulate``). One process, as many threads of linear algebra
as the environment allows: set ``OPENBLAS_NUM_THREADS=1`` on a busy machine. `read_exposure` is
timed on each file as in a run: what earlier files had in common with it is known by then.
"""

import argparse
import logging
import time
from pathlib import Path

from stdatamodels.jwst import datamodels

from msa3d_steps.cube.inputs import Selection
from msa3d_steps.cube.reading import cutouts_of_model, read_exposure

EVERYTHING = Selection((), background=True, virtual=True)


def main():
    """Time both ways on each file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("files", nargs="+", type=Path)
    parser.add_argument("--repeat", type=int, default=3)
    options = parser.parse_args()
    logging.disable(logging.WARNING)
    print(f"{'file':45s} {'slits':>5s} {'models':>9s} {'first':>9s} {'best':>9s} {'ratio':>7s}")
    for path in options.files:
        models, n_slits = timed(by_model, path)
        times = [timed(by_tree, path)[0] for _ in range(options.repeat)]
        first, best = times[0] / n_slits, min(times) / n_slits
        models /= n_slits
        print(
            f"{path.name:45s} {n_slits:5d} {1e3 * models:6.1f} ms {1e3 * first:6.1f} ms "
            f"{1e3 * best:6.1f} ms {models / best:7.1f}"
        )
    print("per slit, arrays and footprint included")


def timed(read, path):
    """Seconds that a file takes, and the number of its slits."""
    start = time.perf_counter()
    exposure = read(path)
    return time.perf_counter() - start, exposure.n_slits


def by_model(path):
    """Read a file through its model."""
    with datamodels.open(path) as model:
        return cutouts_of_model(path.name, model, EVERYTHING)


def by_tree(path):
    """Read a file as the pipeline does."""
    return read_exposure(path, EVERYTHING)


if __name__ == "__main__":
    main()
