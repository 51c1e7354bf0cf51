"""A run that is stopped and started again: the same cubes, and nothing done twice."""

import os
import random
import subprocess
import time

import pytest
from astropy.io import fits
from pipeline_runs import (
    LABELS,
    NARROW,
    PLACE,
    PRODUCT,
    STRUN_IN_PROCESSES,
    WINDOW,
    assert_same_cubes,
    association,
    bits,
    cubes_in,
    everything_in,
    files,
    finished,
    linked,
    long,
    replaced,
    strun,
    times_of,
    window,
)
from shared_survey import assert_untouched

from msa3d_steps import InputError, MSA3DSpec3Pipeline
from msa3d_steps.pipelines.workplace import Workplace

KILLS = int(os.environ.get("MSA3D_KILLS", "1"))
SERIAL = {"maximum_cores": "none", "save_results": True}


@pytest.fixture(scope="module")
def asn(simulated, tmp_path_factory):
    return association(tmp_path_factory.mktemp("asn"), files(simulated, "cal"))


def start(simulated, asn, out):
    """Start the command that is killed and given again."""
    return strun(
        simulated, "msa3d_spec3", asn, "--maximum_cores=2", "--memory_limit=16",
        f"--output_dir={out}", *window(), command=STRUN_IN_PROCESSES,
    )  # fmt: skip


@pytest.fixture(scope="module")
def undisturbed(simulated, asn, tmp_path_factory):
    """The folder of an undisturbed run; when its work began and ended, s."""
    folder = tmp_path_factory.mktemp("undisturbed")
    before = time.monotonic()
    process = start(simulated, asn, folder)
    while not (folder / PLACE).exists() and process.poll() is None:
        time.sleep(0.02)
    began = time.monotonic() - before
    status, said = finished(process)
    assert status == 0, said
    assert "2 processes" in said
    return folder, began, time.monotonic() - before


def done_parts(out):
    """Give the parts that a run need not do again, with the time at which they were done."""
    reports = times_of(out, f"{PLACE}/reports/*.json")
    cutouts = {p.stem for p in out.glob(f"{PLACE}/cutouts/*.cutouts")}
    cubes = set(cubes_in(out))
    return {name: t for name, t in reports.items() if name.removesuffix(".json") in cutouts | cubes}


def test_killed_many_times(simulated, asn, undisturbed, tmp_path):
    """SIGKILL at random moments, the same command after each: the same cubes bit for bit.

    What was there at the moment of a kill is not done again.
    """
    clean, began, ended = undisturbed
    moments = random.Random(20261)  # noqa: S311 - no secret
    killed, runs = 0, 0
    out = tmp_path / "0"
    while killed < KILLS:
        runs += 1
        assert runs <= 3 * KILLS, "runs end before they are killed"
        process = start(simulated, asn, out)
        try:
            # the more is done, the sooner a run ends; one that ends is followed by a new one
            status = process.wait(moments.uniform(began, began + 0.6 * (ended - began)))
        except subprocess.TimeoutExpired:
            process.kill()
            killed += 1
            before = done_parts(out)
            status = None
        finished(process)
        if status is None:
            continue
        assert status == 0
        assert_whole(out, clean, before if runs > 1 else {})
        out, before = tmp_path / str(runs), {}
    status, said = finished(start(simulated, asn, out))
    assert status == 0, said
    assert_whole(out, clean, before)


def assert_whole(out, clean, before):
    """Compare with the undisturbed run; parts that were done before were not done again."""
    assert_same_cubes(out, clean)
    assert everything_in(out) == everything_in(clean)
    after = times_of(out, f"{PLACE}/reports/*.json")
    assert before.items() <= after.items()


@long
def test_processes_that_outlive_a_kill_leave_nothing(simulated, asn, undisturbed, tmp_path):
    """Killed while cubes are built: what is done stays, scratch goes with the next run."""
    clean, *_ = undisturbed
    process = start(simulated, asn, tmp_path)
    scratch = tmp_path / PLACE / "unfinished"
    while not (scratch.exists() and any(scratch.iterdir())) and process.poll() is None:
        time.sleep(0.005)
    process.kill()
    finished(process)
    before = done_parts(tmp_path)
    assert len([name for name in before if name.startswith("jw")]) == 8
    status, said = finished(start(simulated, asn, tmp_path))
    assert status == 0, said
    assert "to go" not in said.split("source")[0]
    assert_whole(tmp_path, clean, before)


@pytest.fixture
def workable(simulated, tmp_path):
    """Cubes with cutouts that were kept: their folder, the inputs, and a call that goes on."""
    asn, out = linked(simulated, tmp_path / "input", detector="nrs1"), tmp_path / "out"

    def call(cube=None, **options):
        return MSA3DSpec3Pipeline.call(
            asn,
            output_dir=str(out),
            steps={**NARROW, "cube": WINDOW | (cube or {})},
            **SERIAL,
            **options,
        )

    call(keep_cutouts=True)
    return asn.parent, out, call


def redone(out, before):
    """Name the parts that were done since."""
    return {
        name.removesuffix(".json")
        for name, when in times_of(out, f"{PLACE}/reports/*.json").items()
        if before.get(name) != when
    }


def test_what_is_done_again(workable):
    """Nothing without a change; cubes with a parameter; a file and its cubes with the file; all."""
    folder, out, call = workable
    names = [path.stem for path in files(folder, "cal")]

    def again(**options):
        reports = times_of(out, f"{PLACE}/reports/*.json")
        cubes = times_of(out, "*_s3d.fits")
        result = call(keep_cutouts=True, **options)
        assert list(result.paths) == LABELS
        parts = redone(out, reports)
        now = times_of(out, "*_s3d.fits")
        written = {name.split("_")[1] for name in now if cubes.get(name) != now[name]}
        assert written == parts & set(LABELS)
        return parts

    assert again() == set()
    assert again(cube={"scalexy": 0.08}) == set(LABELS)
    assert fits.getval(cubes_in(out)[LABELS[0]], "CDELT2", "SCI") * 3600 == pytest.approx(0.08)
    assert again() == set(LABELS)
    replaced(folder / f"{names[2]}.fits", lambda hdus: hdus["SCI", 1].data.__imul__(2))
    assert again() == {names[2], *LABELS}
    cubes_in(out)[LABELS[1]].unlink()
    assert again() == {LABELS[1]}
    assert again(resume=False) == {*names, *LABELS}
    association(folder, [f"{name}.fits" for name in names[1:]])
    assert again() == set(LABELS)
    assert again() == set()


def test_one_source_after_the_others(simulated, asn, tmp_path):
    """Without cutouts that were kept, a cube that is lost makes the files be read again."""

    def call(**options):
        return MSA3DSpec3Pipeline.call(
            asn, output_dir=str(tmp_path), steps=NARROW, **SERIAL, **options
        )

    call()
    assert not (tmp_path / PLACE / "cutouts").exists()
    before = times_of(tmp_path, f"{PLACE}/reports/*.json")
    first = {label: path.read_bytes() for label, path in cubes_in(tmp_path).items()}
    call()
    assert redone(tmp_path, before) == set()
    cubes_in(tmp_path)[LABELS[2]].unlink()
    call()
    names = {path.stem for path in files(simulated, "cal")}
    assert redone(tmp_path, before) == names | {LABELS[2]}
    after = cubes_in(tmp_path)
    assert [after[label].read_bytes() == first[label] for label in LABELS[:2]] == [True, True]
    assert not (tmp_path / PLACE / "cutouts").exists()


def test_damaged_records_are_made_again(workable):
    """Reports and a cube that were damaged on disk cost no more than time."""
    folder, out, call = workable
    names = [path.stem for path in files(folder, "cal")]
    first = {label: bits(path) for label, path in cubes_in(out).items()}
    reports = out / PLACE / "reports"
    (reports / f"{names[0]}.json").write_text('{"name": ')
    (reports / f"{LABELS[0]}.json").write_text("[]")
    cubes_in(out)[LABELS[1]].write_bytes(b"")
    before = times_of(out, f"{PLACE}/reports/*.json")
    call()
    assert redone(out, before) == {names[0], *LABELS[:2]}
    assert {label: bits(path) for label, path in cubes_in(out).items()} == first


def test_two_runs_in_one_folder(workable, asn):
    """The second is refused; and goes when the first is over."""
    _, out, call = workable
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*")}
    with Workplace(out / PLACE).claim():
        with pytest.raises(InputError, match="another run is at work in this folder"):
            call()
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*")} == before
    assert len(call()) == 3


def test_runs_of_other_products_share_a_folder(simulated, tmp_path):
    """Two associations with one output folder do not touch each other's records."""
    cals = files(simulated, "cal")
    pair = [association(tmp_path / "a", cals[:2]),
            association(tmp_path / "b", cals[2:4], PRODUCT.replace("o001", "o002"))]  # fmt: skip
    for path in pair * 2:
        MSA3DSpec3Pipeline.call(
            path, output_dir=str(tmp_path / "out"), steps=NARROW, sources=["1"], **SERIAL
        )
    out = tmp_path / "out"
    assert len(list(out.glob("*_s3d.fits"))) == 2
    for place in (PLACE, PLACE.replace("o001", "o002")):
        assert len(list(out.glob(f"{place}/reports/jw*.json"))) == 2


def test_inputs_stay_as_they_are(simulated, undisturbed):
    assert_untouched(simulated)
