"""What simulating a survey of full size costs.

``python -W ignore benchmarks/survey.py FOLDER`` simulates 9 steps x 7 dithers of 10 galaxies with
both detectors (126 files, 3 GB) in FOLDER, unless they are there; `pipeline` makes cubes of them.
"""

import argparse
import resource
import subprocess
import sys
import threading
import time
from pathlib import Path

from speed import print_table

MINUTES, GIGABYTES = 20, 4  # targets of the simulation on 2 cores


def main():
    """Simulate."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--n-sources", default="10")
    parser.add_argument("--steps", default="9")
    parser.add_argument("--dithers", default="7")
    options = parser.parse_args()
    simulate(options)


def simulate(options):
    """Run the simulator and say what it took."""
    command = Path(sys.executable).with_name("msa3d_simulate")
    words = [
        str(command), str(options.folder), f"--n-sources={options.n_sources}",
        f"--steps={options.steps}", f"--dithers={options.dithers}", "--dither=0.075",
        "--maximum-cores=2",
    ]  # fmt: skip
    start = time.perf_counter()
    process = subprocess.Popen(words)  # noqa: S603 - our own command
    peak = [0]
    watcher = threading.Thread(target=watch_memory, args=(process, peak))
    watcher.start()
    status = process.wait()
    watcher.join()
    if status:
        sys.exit(status)
    minutes = (time.perf_counter() - start) / 60
    files = list(options.folder.glob("*_cal.fits"))
    size = sum(path.stat().st_size for path in files) / 1e9
    print_table(
        "simulation, 2 processes", ("", "taken", "target"),
        [
            ("files", f"{len(files)}, {size:.1f} GB", ""),
            ("time", f"{minutes:.1f} min", f"{MINUTES} min"),
            ("memory of all processes", f"{peak[0] / 1e9:.1f} GB", f"{GIGABYTES} GB"),
        ],
    )  # fmt: skip


def watch_memory(process, peak):
    """Sample the resident memory of a process and its children until it ends (Linux)."""
    page = resource.getpagesize()
    while process.poll() is None:
        total = 0
        for pid in (process.pid, *descendants(process.pid)):
            try:
                total += int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * page
            except (OSError, IndexError):
                continue
        peak[0] = max(peak[0], total)
        time.sleep(0.2)


def descendants(pid):
    """List the processes below a process."""
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return []
    return [int(c) for child in children for c in (child, *descendants(int(child)))]


if __name__ == "__main__":
    main()
