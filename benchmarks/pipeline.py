"""From calibrated exposures to cubes: wall time, memory, share of reading, and how it scales.

``python -W ignore benchmarks/pipeline.py SURVEY`` runs ``strun msa3d_spec3`` on the calibrated
exposures in the folder SURVEY (``msa3d_simulate SURVEY --n-sources=10 --steps=9 --dithers=7
--dither=0.075``) as a user does, with one process and with two, with parts of the files and of the
sources, and beside them the plain way: every file opened once with ``datamodels.open``, then source
after source, in one process.
"""

import argparse
import json
import logging
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from speed import print_table
from stdatamodels.jwst import datamodels
from survey import watch_memory

from msa3d_steps.cube.build import build_cube
from msa3d_steps.cube.combine import CombineOptions
from msa3d_steps.cube.grid import GridOptions
from msa3d_steps.cube.inputs import Selection
from msa3d_steps.cube.reading import add_entry, cutouts_of_model

FASTER, TWO_CORES = 5, 1.7
"""Targets: the plain way over ours, and one process over two."""


def main():
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("survey", type=Path)
    parser.add_argument(
        "--every", type=int, default=1, help="the plain way opens every so manieth file (1)"
    )
    options = parser.parse_args()
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    files = sorted(options.survey.glob("*_cal.fits"))
    strun(files[:2], 1, ("1",))  # compiles, and warms the disk's cache
    for path in files:
        path.read_bytes()
    n_sources = len(strun(files[:1], 1).exposures[0]["sources"])
    half, few = files[: len(files) // 2], [str(i + 1) for i in range(n_sources // 2)]
    cases = {
        "1 process": strun(files, 1), "2 processes": strun(files, 2),
        "1 process, half of the files": strun(half, 1),
        "1 process, half of the sources": strun(files, 1, few),
    }  # fmt: skip
    plain, opening = the_plain_way(files, options.every)
    one, two = (cases[name].seconds for name in ("1 process", "2 processes"))
    rows = [
        (name, f"{run.seconds:.1f}", f"{run.memory / 1e9:.1f}", f"{100 * run.reading:.0f}%",
         f"{plain / run.seconds:.1f}" if "half" not in name else "", f"{one / run.seconds:.2f}")
        for name, run in cases.items()
    ]  # fmt: skip
    rows.append(("the plain way", f"{plain:.1f}", "", f"{100 * opening / plain:.0f}%", "1.0", ""))
    rows.append(("wanted", "", "", "", f"{FASTER}", f"{TWO_CORES} (2 processes)"))
    print_table(
        f"{len(files)} files, {n_sources} sources",
        ("", "s", "GB, all processes", "reading", "faster than plain", "against 1 process"), rows,
    )  # fmt: skip
    print(f"2 processes are {one / two:.2f} times as fast as one")


class Timed:
    """A run of the pipeline: wall time, peak memory of all processes, share of reading."""

    def __init__(self, seconds, memory, exposures, sources):
        self.seconds, self.memory = seconds, memory
        self.exposures, self.sources = exposures, sources
        spent = [sum(report["seconds"] for report in part) for part in (exposures, sources)]
        self.reading = spent[0] / sum(spent)


def strun(files, processes, sources=()):
    """Run the pipeline as a user does, in a new folder."""
    folder = Path(tempfile.mkdtemp(prefix="msa3d-benchmark-"))
    try:
        association = folder / "asn.json"
        members = [{"expname": str(path.resolve()), "exptype": "science"} for path in files]
        association.write_text(
            json.dumps({"asn_id": "a3001", "products": [{"name": "x", "members": members}]})
        )
        words = [
            str(Path(sys.executable).with_name("strun")), "msa3d_spec3", str(association),
            f"--output_dir={folder}", f"--maximum_cores={processes}", "--log-level=WARNING",
            *([f"--sources={','.join(sources)},"] if sources else []),
        ]  # fmt: skip
        start = time.perf_counter()
        process = subprocess.Popen(words)  # noqa: S603 - our own command
        peak = [0]
        watcher = threading.Thread(target=watch_memory, args=(process, peak))
        watcher.start()
        if process.wait():
            sys.exit(f"failed: {' '.join(words)}")
        seconds = time.perf_counter() - start
        watcher.join()
        found = [json.loads(p.read_text()) for p in folder.glob("*_msa3d/reports/*.json")]
        return Timed(
            seconds, peak[0],
            [r for r in found if "sources" in r], [r for r in found if "cube" in r],
        )  # fmt: skip
    finally:
        shutil.rmtree(folder)


def the_plain_way(files, every):
    """Open every file once with stdatamodels, then build source after source; s, s of opening."""
    logging.disable(logging.WARNING)
    found, start = {}, time.perf_counter()
    for path in files[::every]:
        with datamodels.open(path) as model:
            for entry in cutouts_of_model(path.name, model, Selection()).entries:
                add_entry(entry, found.setdefault(entry.source.label, entry.source))
    opening = (time.perf_counter() - start) * len(files) / len(files[::every])
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        for label, source in found.items():
            options = CombineOptions()
            build_cube(source, GridOptions(), options).save(str(Path(folder) / f"{label}.fits"))
    building = (time.perf_counter() - start) * len(files) / len(files[::every])
    return opening + building, opening


if __name__ == "__main__":
    main()
