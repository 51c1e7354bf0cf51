"""Speed and memory of the cube builder, as ratios measured in one run.

The yardstick is `baseline`: jwst's C drizzle, called cutout by cutout with the gwcs evaluated at
every pixel. Both sides get the same models and the same voxels, and every time is divided by the
number of all pixels of the cutouts, lit or not.
"""

import argparse
import ctypes
import gc
import importlib
import multiprocessing
import os
import statistics
import subprocess
import sys
import tempfile
import threading
from collections import defaultdict
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial, wraps
from pathlib import Path
from time import perf_counter, process_time

import numpy as np
from baseline import drizzle_slit_by_slit
from material import grating_survey, prism_survey

from msa3d_steps.cube.build import build_cube
from msa3d_steps.cube.combine import CombineOptions
from msa3d_steps.cube.grid import GridOptions
from msa3d_steps.cube.slits import flat_metadata
from msa3d_steps.cube.sources import Source, cutout_from_slit

SCALE = 0.1
"""Side of a spaxel, arcsec."""

SMALL_RATIO, LARGE_RATIO, LARGE_MICROSECONDS = 10, 40, 0.5
"""Targets: baseline over ours, and us per detector pixel."""

VOXEL_BYTES = 5 * 4 + 2
"""SCI, ERR, DQ, WMAP and ETIME of four bytes, NEXP of two."""

MEMORY_FACTOR, MEMORY_ROOM = 2, 200
"""Memory that building may take: so many times the planes, and so many MB."""

SAMPLING = 0.005
"""Time between two looks at the resident memory, s."""

PER_CUTOUT = ("wcs", "project", "kernel")
"""Parts of the baseline that are paid for each pixel; `accumulate` is paid for each voxel."""

PHASES = (
    ("WCS: evaluate, fit surfaces", "msa3d_steps.cube.sources", "footprint_from_wcs"),
    ("pattern", "msa3d_steps.cube.build", "find_pattern"),
    ("grid", "msa3d_steps.cube.build", "make_grid"),
    ("combine: slits on the grid", "msa3d_steps.cube.strips", "Group.__init__"),
    ("combine: evaluate surfaces", "msa3d_steps.cube.strips", "Strip.rebin"),
    ("combine: rebin", "msa3d_steps.cube.strips", "rebin_rows"),
    ("combine: level, density", "msa3d_steps.cube.strips", "add_density"),
    ("combine: level, weights", "msa3d_steps.cube.strips", "level_rows"),
    ("combine: level, rest", "msa3d_steps.cube.strips", "Group._level"),
    ("combine: drop", "msa3d_steps.cube.strips", "drop_rows"),
    ("combine: finish", "msa3d_steps.cube.combine", "_finish"),
    ("combine: rest", "msa3d_steps.cube.build", "combine"),
    ("model: blend headers", "msa3d_steps.cube.model", "_blend_headers"),
    ("model: rest", "msa3d_steps.cube.build", "make_model"),
)
"""Where the time is looked for: label, module and name. What a later one calls is not its own."""


@dataclass(frozen=True)
class Timing:
    """Time that something took, s.

    Attributes
    ----------
    wall : float
        By the clock.
    cpu : float
        Of the cores, for all threads of this process.
    others : float
        Of the cores, for other processes (and machines, on a virtual one).
    """

    wall: float
    cpu: float
    others: float

    def __add__(self, other):
        """Add two times up."""
        return Timing(self.wall + other.wall, self.cpu + other.cpu, self.others + other.others)

    def per_pixel(self, pixels):
        """Give the time for each of some pixels, us."""
        return Timing(*(1e6 * t / pixels for t in (self.wall, self.cpu, self.others)))

    @property
    def crowd(self):
        """Number of cores that others kept busy meanwhile."""
        return max(self.others / self.wall, 0)


@dataclass(frozen=True)
class Run:
    """One cube and what it cost.

    Attributes
    ----------
    cutouts, build : Timing
        Models to cutouts (WCS evaluation included), and cutouts to the cube's model.
    model : float
        Part of ``build`` that the output model takes, s.
    shape : tuple of int
        Shape of the cube.
    """

    cutouts: Timing
    build: Timing
    model: float
    shape: tuple

    @property
    def total(self):
        """Time of everything, as a `Timing`."""
        return self.cutouts + self.build


@dataclass
class Stopwatch:
    """Time that functions take, without that of watched functions that they call.

    Attributes
    ----------
    seconds, calls : dict
        Time and number of calls, by label.
    """

    seconds: dict = field(default_factory=lambda: defaultdict(float))
    calls: dict = field(default_factory=lambda: defaultdict(int))
    _inner: list = field(default_factory=lambda: [0.0])

    def watch(self, function, label):
        """Wrap a function; only for use by one thread."""

        @wraps(function)
        def timed(*args, **kwargs):
            self._inner.append(0.0)
            start = perf_counter()
            try:
                return function(*args, **kwargs)
            finally:
                spent = perf_counter() - start
                self.seconds[label] += spent - self._inner.pop()
                self.calls[label] += 1
                self._inner[-1] += spent

        if hasattr(function, "signatures"):  # compiled; `combine` asks whether it is loaded
            timed.signatures = function.signatures
        return timed


@contextmanager
def watched(phases):
    """Put a stopwatch on functions of the package for a while.

    Parameters
    ----------
    phases : iterable of tuple
        Label, module and dotted name of each function; those that are not there are left out.

    Yields
    ------
    Stopwatch
        The stopwatch.
    """
    stopwatch, undo = Stopwatch(), []
    for label, module, path in phases:
        owner = importlib.import_module(module)
        *parents, name = path.split(".")
        for parent in parents:
            owner = getattr(owner, parent, None)
        function = getattr(owner, name, None)
        if function is not None:
            undo.append(partial(setattr, owner, name, function))
            setattr(owner, name, stopwatch.watch(function, label))
    try:
        yield stopwatch
    finally:
        for restore in undo:
            restore()


@contextmanager
def clock():
    """Time a block; gives a list that holds its `Timing` at the end."""
    result = []
    start = np.array([perf_counter(), process_time(), busy_time()])
    yield result
    wall, cpu, busy = np.array([perf_counter(), process_time(), busy_time()]) - start
    result.append(Timing(wall, cpu, busy - cpu))


def busy_time():
    """Time that all cores together were not idle, s, in steps of 10 ms."""
    spent = np.array(Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9], float)
    return (spent.sum() - spent[3] - spent[4]) / os.sysconf("SC_CLK_TCK")


def make_source(models):
    """Turn models into what a cube is made of, as the step does once a file is open.

    Parameters
    ----------
    models : list of SlitModel
        The cutouts of one source.

    Returns
    -------
    Source
        The source.
    """
    first = models[0]
    source = Source("s000000001", 1, first.source_name, first.source_ra, first.source_dec)
    for model in models:
        source.cutouts.append(cutout_from_slit(model, model.meta, model.meta.filename))
        source.headers.append(flat_metadata(model.meta))
    return source


def make_cube(source, threads, scale=SCALE):
    """Build the cube of a source with all other options at their defaults."""
    return build_cube(source, GridOptions(scalexy=scale), CombineOptions(threads=threads))


def measure(models, threads):
    """Time one cube, from models in memory to the output model.

    Parameters
    ----------
    models : list of SlitModel
        The cutouts of one source.
    threads : int
        Threads of `combine`.

    Returns
    -------
    Run
        What it cost.
    """
    gc.collect()
    with watched([("model", "msa3d_steps.cube.build", "make_model")]) as stopwatch:
        with clock() as cutouts:
            source = make_source(models)
        with clock() as build:
            cube = make_cube(source, threads)
    return Run(cutouts[0], build[0], stopwatch.seconds["model"], cube.shape)


def median_run(models, threads, runs):
    """Time some cubes after one that does not count; give the one of median total time."""
    measure(models[:2], threads)
    done = [measure(models, threads) for _ in range(runs)]
    return sorted(done, key=lambda run: run.total.wall)[runs // 2]


def measure_baseline(models, some):
    """Time the baseline on our voxels.

    Parameters
    ----------
    models : list of SlitModel
        The cutouts that the voxels are chosen for.
    some : list of SlitModel
        Those of them that are drizzled.

    Returns
    -------
    parts : dict
        Time of each part, us for each pixel of the cutouts that are drizzled.
    crowd : float
        Number of cores that others kept busy meanwhile.
    """
    cube = make_cube(make_source(models), 1)
    (n_wave, ny, nx), info = cube.shape, cube.meta.wcsinfo
    waves = np.asarray(cube.wavetable["wavelength"], dtype=float).ravel()
    with clock() as timing:
        result = drizzle_slit_by_slit(some, (info.crval1, info.crval2), (nx, ny), SCALE, waves)
    assert result["flux"].shape == (n_wave, ny, nx)
    parts = {name: s / result["pixels_total"] * 1e6 for name, s in result["seconds"].items()}
    return parts, timing[0].crowd


def small_case(args):
    """Compare with the baseline on a survey of small PRISM cutouts."""
    models = prism_survey(args.cutout)
    run = median_run(models, args.threads, args.runs)
    baseline = measure_baseline(models, models)
    compare("small", models, run, baseline, tuple(baseline[0]), args.threads)
    show_phases("small", models)


def large_case(args):
    """Compare with the baseline on a survey of large grating cutouts of both detectors."""
    models = grating_survey(args.cutout)
    run = median_run(models, args.threads, args.runs)
    pairs = max(args.baseline_cutouts // 2, 1)
    first = np.linspace(0, len(models) // 2 - 1, pairs).astype(int) * 2
    some = [models[i + detector] for i in first for detector in (0, 1)]
    baseline = measure_baseline(models, some)
    compare("large", models, run, baseline, PER_CUTOUT, args.threads)
    print(f"The baseline ran on {len(some)} of the cutouts; accumulate and normalise, which cost")
    print("each voxel once for each cutout and once for the cube, are not in its total.\n")
    show_phases("large", models)
    show_linearity(models, args)


def compare(name, models, run, baseline, counted, threads):
    """Print ours against the baseline, us per detector pixel.

    Parameters
    ----------
    name : {'small', 'large'}
        The case.
    models : list of SlitModel
        The cutouts.
    run : Run
        Ours.
    baseline : tuple
        What `measure_baseline` gave.
    counted : tuple of str
        Parts of the baseline that are in its total.
    threads : int
        Threads of ours.
    """
    pixels = sum(model.data.size for model in models)
    parts, crowd = baseline
    ours, cutouts = (t.per_pixel(pixels).wall for t in (run.total, run.cutouts))
    model, theirs = run.model / pixels * 1e6, sum(parts[name] for name in counted)
    ratio, most = (SMALL_RATIO, None) if name == "small" else (LARGE_RATIO, LARGE_MICROSECONDS)
    rows = [
        ("baseline / ours", f"{theirs / ours:.1f}", *verdict(theirs / ours, ratio, 1)),
        ("  without the output model", f"{theirs / (ours - model):.1f}"),
        ("ours, us per pixel", f"{ours:.3f}", *(verdict(ours, most, -1) if most else ())),
        ("  WCS and footprints", f"{cutouts:.3f}"),
        ("  pattern, grid, combine", f"{ours - cutouts - model:.3f}"),
        ("  output model", f"{model:.3f}"),
        ("  CPU time", f"{run.total.per_pixel(pixels).cpu:.3f}"),
        ("baseline, us per pixel", f"{theirs:.2f}"),
        *((f"  {part}", f"{value:.2f}") for part, value in parts.items()),
        ("ours, s for the cube", f"{run.total.wall:.2f}"),
        ("cores busy with others", f"{run.total.crowd:.1f}, {crowd:.1f}", "ours, baseline"),
    ]
    rows = [(*row, "", "")[:4] for row in rows]
    print_table(f"{name}: {describe(models, run.shape)}, threads {threads}", HEADER, rows)


def show_phases(name, models):
    """Print where our time goes, with one thread."""
    measure(models[:2], 1)
    with watched(PHASES) as stopwatch:
        run = measure(models, 1)
    pixels, total = sum(model.data.size for model in models), run.total.wall
    crowd = f"{run.total.crowd:.1f} cores busy with others"
    seconds = {"cutout: arrays": run.cutouts.wall - stopwatch.seconds[PHASES[0][0]]}
    seconds |= {label: stopwatch.seconds[label] for label, *_ in PHASES if stopwatch.calls[label]}
    seconds["rest"] = total - sum(seconds.values())
    rows = [
        (label, f"{100 * s / total:.1f}", f"{s / pixels * 1e6:.4f}", str(stopwatch.calls[label]))
        for label, s in seconds.items()
    ]
    rows.append(("all", "100.0", f"{total / pixels * 1e6:.4f}", ""))
    header = ("phase", "%", "us per pixel", "calls")
    print_table(f"where the time goes: {name}, threads 1, {crowd}", header, rows)


def show_linearity(models, args):
    """Print the cost for parts of a survey: the first 32, 63 and all cutouts."""
    costs, rows = {}, []
    for number in (32, 63, len(models)):
        part = models[:number]
        run = median_run(part, args.threads, args.runs)
        costs[number] = run.total.per_pixel(sum(m.data.size for m in part)).wall
        rows.append(
            (str(number), f"{costs[number]:.3f}", f"{run.total.wall:.2f}",
             " x ".join(map(str, run.shape)), f"{run.total.crowd:.1f}")
        )  # fmt: skip
    low, high = min(costs.values()), max(costs.values())
    print_table(
        f"linearity: large, threads {args.threads}; most / least {high / low:.2f}",
        ("cutouts", "us per pixel", "s", "voxels", "others"), rows,
    )  # fmt: skip


def memory_case(args):
    """Print the memory that building takes, each measured in a fresh process."""
    rows = []
    for scale in (0.1, 0.05):
        shape, taken = in_fresh_process(measure_memory, args.cutout, scale, args.threads)
        planes = np.prod(shape) * VOXEL_BYTES / 1e6
        allowed = MEMORY_FACTOR * planes + MEMORY_ROOM
        size = " x ".join(map(str, shape))
        rows.append(
            (f'{scale}" ({size})', f"{taken / allowed:.2f}", *verdict(taken, allowed, -1),
             f"{taken:.0f}", f"{planes:.0f}")
        )  # fmt: skip
    header = ("spaxel (voxels)", "taken / allowed", "target MB", "", "taken MB", "planes MB")
    print_table(f"memory: large, threads {args.threads}", header, rows)


def measure_memory(cutout, scale, threads):
    """Build a large cube and watch the resident memory.

    Parameters
    ----------
    cutout : Path
        The real cutout.
    scale : float
        Side of a spaxel, arcsec.
    threads : int
        Threads of `combine`.

    Returns
    -------
    shape : tuple of int
        Shape of the cube.
    taken : float
        Largest resident memory while building, less that just before, MB (1e6 bytes).
    """
    models = grating_survey(cutout)
    source = make_source(models)
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)  # else what was freed before would be taken unseen
    before, samples, done = resident(), [], threading.Event()

    def sample():
        while not done.wait(SAMPLING):
            samples.append(resident())

    sampler = threading.Thread(target=sample)
    sampler.start()
    try:
        cube = make_cube(source, threads, scale)
    finally:
        done.set()
        sampler.join()
    return cube.shape, max(*samples, resident()) - before


def resident():
    """Resident memory of this process, MB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def startup_case(args):
    """Print what the command line and the compiler cost at the start."""
    with tempfile.TemporaryDirectory() as folder:
        cold = in_fresh_process(measure_builds, args.cutout, NUMBA_CACHE_DIR=folder)
    warm = in_fresh_process(measure_builds, args.cutout)
    ours, theirs = time_help("msa3d_cube", args.runs), time_help("calwebb_spec3", args.runs)
    rows = [
        ("strun --help, ours / calwebb_spec3", ours / theirs, ours, theirs),
        ("first / second build, nothing compiled", cold[0] / cold[1], *cold),
        ("first / second build, compiled before", warm[0] / warm[1], *warm),
    ]
    rows = [(label, *(f"{value:.2f}" for value in values)) for label, *values in rows]
    print_table("start-up", ("measure", "ratio", "s", "s"), rows)


def measure_builds(cutout):
    """Time the first and the second small cube of a process, s."""
    models = prism_survey(cutout, n_steps=3, n_dithers=3)
    return tuple(measure(models, 1).total.wall for _ in range(2))


def time_help(alias, runs):
    """Time ``strun alias --help``: median of some runs, s."""
    command = [str(Path(sys.executable).with_name("strun")), alias, "--help"]
    times = []
    for _ in range(runs):
        start = perf_counter()
        done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
        times.append(perf_counter() - start)
        if done.returncode or "usage" not in done.stdout.lower():
            print(f"strun {alias} --help failed: {done.stderr.strip()[-200:]}")
    return statistics.median(times)


def in_fresh_process(function, *args, **environment):
    """Call a function in a new process, with some environment variables set."""
    old = {name: os.environ.get(name) for name in environment}
    os.environ.update(environment)
    try:
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(1, mp_context=context) as pool:
            return pool.submit(function, *args).result()
    finally:
        for name, value in old.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})


HEADER = ("measure", "value", "target", "")


def verdict(value, target, sense):
    """Word a target, at least (sense 1) or at most (-1), and whether it is met."""
    word = "at least" if sense > 0 else "at most"
    return f"{word} {target:.4g}", "pass" if sense * value >= sense * target else "FAIL"


def describe(models, shape):
    """Word the size of a case."""
    sizes = " and ".join(sorted({"{} x {}".format(*model.data.shape) for model in models}))
    return f"{len(models)} cutouts of {sizes} -> {' x '.join(map(str, shape))} voxels"


def print_table(title, header, rows):
    """Print a table of text."""
    rows = [header, *rows]
    widths = [max(len(row[i]) for row in rows) for i in range(len(header))]
    print(title)
    for row in rows:
        cells = [row[0].ljust(widths[0])]
        cells += [cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)]
        print("  " + "  ".join(cells).rstrip())
    print(flush=True)


CASES = {
    "small": small_case,
    "large": large_case,
    "memory": memory_case,
    "startup": startup_case,
}


def parse(arguments=None):
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description="Measure speed and memory of the cube builder against jwst's C drizzle called "
        "cutout by cutout. Times are per detector pixel, lit or not; files are not opened while "
        "the clock runs."
    )
    parser.add_argument(
        "cutout", type=Path, help="a real NIRSpec MSA PRISM cutout on NRS2 (SlitModel with WCS)"
    )
    parser.add_argument(
        "--case", nargs="+", choices=[*CASES, "all"], default=["all"],
        help="what to measure: small (63 cutouts of 25 x 341), large (126 of 40 x 2048, with "
        "linearity), memory (of large, two sizes of spaxel), startup; default all",
    )  # fmt: skip
    parser.add_argument(
        "--threads", type=int, default=2,
        help="threads of ours; the baseline has one, phases are timed with one (default 2)",
    )  # fmt: skip
    parser.add_argument(
        "--runs", type=int, default=3, help="runs of which the median counts, of ours (default 3)"
    )
    parser.add_argument(
        "--baseline-cutouts", type=int, default=4,
        help="cutouts of the large case that the baseline gets, half of each detector (default 4)",
    )  # fmt: skip
    return parser.parse_args(arguments)


def main():
    """Measure what is asked for."""
    args = parse()
    for name, case in CASES.items():
        if name in args.case or "all" in args.case:
            case(args)


if __name__ == "__main__":
    main()
