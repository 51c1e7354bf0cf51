"""msa3d: slope images and the MSA metafile in, cubes out; held against the truth of the survey."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from jwst.assign_wcs.util import NoDataOnDetectorError
from pipeline_runs import (
    LABELS,
    NARROW,
    PLACE,
    PRODUCT,
    association,
    cubes_in,
    files,
    finished,
    linked,
    long,
    strun,
    times_of,
    truncated,
    window,
)
from shared_survey import assert_untouched
from stdatamodels.jwst import datamodels

from msa3d_steps import (
    IncompleteError,
    InputError,
    MSA3DPipeline,
    MSA3DSpec2Pipeline,
    MSA3DSpec3Pipeline,
)
from msa3d_steps.association.cli import main as msa3d_asn
from msa3d_steps.errors import Problem
from msa3d_steps.simulate.record import read_truth
from msa3d_steps.simulate.references.crds import environment
from msa3d_steps.simulate.scene.measure import line_window, measure_line
from msa3d_steps.simulate.scene.sources import Scene
from msa3d_steps.simulate.scene.truth import expected_cube, read_grid

pytestmark = pytest.mark.filterwarnings("ignore:.*get_cache_lock:DeprecationWarning")  # of stpipe

LINE = "[OIII]5007"
RADIUS = 0.45  # arcsec


@pytest.fixture(scope="module")
def made(simulated, tmp_path_factory):
    """The folder of what two commands make of the folder of rate files; what the second said."""
    folder = tmp_path_factory.mktemp("msa3d")
    assert msa3d_asn([str(simulated), "-o", str(folder), "--kind=rate"]) == 0
    (run_file,) = folder.glob("*.asdf")
    options = "--maximum_cores=2", "--memory_limit=16", "--steps.spec2.save_results=true"
    status, said = finished(strun(simulated, run_file, f"--output_dir={folder}", *options))
    assert status == 0, said[-4000:]
    return folder, said


@pytest.fixture
def crds(simulated, monkeypatch):
    for name, value in environment(simulated / "crds").items():
        monkeypatch.setenv(name, value)


def both_of(truth, path):
    """Measure a line in a cube and in the truth seen through the slits."""
    with fits.open(path) as file:
        source = truth.source(file[0].header["SOURCEID"])
        data = file["SCI"].data.astype(float)
    line = next(line for line in source.lines if line.name == LINE)
    whole = read_grid(path)
    low, high = line_window(source, line)
    data = data[(whole.wavelengths >= low) & (whole.wavelengths <= high)]
    grid = whole.window(low, high)
    scene = Scene((source,), truth.scene.zodiacal, truth.scene.zodiacal_slope)
    expected, covered = expected_cube(scene, truth.psf, grid, truth.cutouts(source.source_id))
    x, y = np.meshgrid(*grid.axes())
    across, along = grid.coordinates(source, *np.zeros((2, 1)))
    inside = np.hypot(x - across, y - along) < RADIUS
    inside &= (covered > 0.9).all(axis=0) & np.isfinite(data).all(axis=0)
    return [measure_line(source, line, grid, cube, None, inside) for cube in (data, expected)]


@pytest.mark.parametrize("label", LABELS)
def test_cubes_show_the_truth(simulated, made, label):
    """From rate to cube: flux within 0.5%, centroid 3 mas, rotation 5 km/s of what slits can show.

    What differs from cubes of simulated cal files is jwst's own calibration.
    """
    found, wanted = both_of(read_truth(simulated), cubes_in(made[0])[label])
    assert wanted.flux > 0
    assert abs(wanted.rotation) > 15
    assert found.flux == pytest.approx(wanted.flux, rel=5e-3)
    assert 1e3 * found.east == pytest.approx(1e3 * wanted.east, abs=3)
    assert 1e3 * found.north == pytest.approx(1e3 * wanted.north, abs=3)
    assert found.rotation == pytest.approx(wanted.rotation, abs=5)


def test_summary(made):
    folder, said = made
    assert set(cubes_in(folder)) == set(LABELS)
    for label in LABELS:
        (row,) = (line.split() for line in said.splitlines() if line.startswith(label))
        assert row[1:5] == [f"9999_{int(label[1:])}", cubes_in(folder)[label].name, "8", "0"]
        assert row[-1] == "0"
    assert "2 processes" in said
    assert "missing" not in said


def test_calibrated_files_are_kept_and_make_the_same_cubes(simulated, made, tmp_path):
    """The cal files that were asked for are what the cubes were made of."""
    cals = files(made[0], "cal")
    assert [path.name for path in cals] == [path.name for path in files(simulated, "cal")]
    MSA3DSpec3Pipeline.call(
        [str(path) for path in cals], save_results=True, output_dir=str(tmp_path),
        output_file=PRODUCT, sources=["2"], maximum_cores="none",
    )  # fmt: skip
    (path,) = cubes_in(tmp_path).values()
    with fits.open(path) as theirs, fits.open(made[0] / path.name) as ours:
        for name in ("SCI", "ERR", "DQ", "WMAP", "ETIME", "NEXP"):
            np.testing.assert_array_equal(ours[name].data, theirs[name].data, name)


def test_calibration_is_that_of_the_simulator(simulated, made):
    """The pixels of cal files made here are those of the simulated ones within 0.1%."""
    for name in (
        "jw09999001001_03101_00002_nrs1_cal.fits",
        "jw09999001001_03101_00003_nrs2_cal.fits",
    ):
        with fits.open(made[0] / name) as ours, fits.open(simulated / name) as theirs:
            slits = {h.header["SOURCEID"]: h for h in theirs if h.name == "SCI"}
            compared = 0
            for hdu in (h for h in ours if h.name == "SCI"):
                other = slits[hdu.header["SOURCEID"]]
                mine, yours = overlap(hdu, other)
                seen = np.isfinite(mine) & np.isfinite(yours) & (yours > np.nanmedian(yours))
                compared += seen.sum()
                assert np.median(np.abs(mine[seen] / yours[seen] - 1)) < 1e-3
            assert compared > 1000


def overlap(hdu, other):
    """Cut two slits of one detector to the pixels that both have."""
    starts = [np.array([h.header["SLTSTRT2"], h.header["SLTSTRT1"]]) for h in (hdu, other)]
    first = np.maximum(*starts)
    last = np.minimum(*[s + h.data.shape for s, h in zip(starts, (hdu, other), strict=True)])
    return [
        h.data[tuple(slice(a, b) for a, b in zip(first - s, last - s, strict=True))].astype(float)
        for s, h in zip(starts, (hdu, other), strict=True)
    ]


def test_inputs_stay_as_they_are(simulated, made):
    assert_untouched(simulated)


@long
def test_nothing_is_done_again(simulated, made):
    """The same command again: nothing is calibrated, nothing is built."""
    folder, _ = made
    before = times_of(folder, f"{PLACE}/reports/*.json") | times_of(folder, "*_s3d.fits")
    (run_file,) = folder.glob("*.asdf")
    options = "--maximum_cores=2", "--memory_limit=16", "--steps.spec2.save_results=true"
    status, said = finished(strun(simulated, run_file, f"--output_dir={folder}", *options))
    assert status == 0, said[-4000:]
    after = times_of(folder, f"{PLACE}/reports/*.json") | times_of(folder, "*_s3d.fits")
    assert before == after


def test_faults_of_rate_files(simulated, tmp_path):
    """A truncated file, one without metafile, a galaxy without a valid pixel; the rest is made."""
    folder, out = tmp_path / "input", tmp_path / "out"
    linked(simulated, folder, "rate", "nrs1")
    rates = files(folder, "rate")
    truncated(rates[0])
    with fits.open(rates[1].resolve()) as hdus:
        hdus[0].header["MSAMETFL"] = "jw09999001001_07_msa.fits"
        rates[1].unlink()
        hdus.writeto(rates[1])
    darken(rates[2], 2)
    asn = association(folder, [path.name for path in rates[:3]])
    before = times_of(folder, "*")
    status, said = finished(
        strun(
            simulated, "msa3d", asn, "--maximum_cores=2", "--memory_limit=16", "--sources=1,2",
            f"--output_dir={out}", *window(), cwd=tmp_path,
        )
    )  # fmt: skip
    assert status == 1, said[-3000:]
    lines = [line for line in said.splitlines() if line.startswith("  (")]
    assert len(lines) == 3, said[-3000:]
    assert any(rates[0].name in line and "truncated" in line for line in lines), lines
    assert any(
        rates[1].name in line and "metafile jw09999001001_07_msa.fits is not there" in line
        for line in lines
    ), lines
    assert any(exposure_of(rates[2]) in line and "slit 2" in line for line in lines), lines
    assert set(cubes_in(out)) == {LABELS[0]}
    # only the slits that were asked for were calibrated
    log = (out / PLACE / "logs" / f"{rates[2].stem}.log").read_text()
    assert "9999_3" not in log
    assert times_of(folder, "*") == before
    assert {path.name for path in out.iterdir()} == {PLACE, cubes_in(out)[LABELS[0]].name}
    assert {path.name for path in tmp_path.iterdir()} == {"input", "out"}


def exposure_of(path):
    return path.name.removesuffix("_rate.fits")


def darken(link, number):
    """Replace a link to a rate file by a copy without valid pixels where a galaxy's slit is."""
    original = link.resolve()
    with fits.open(str(original).replace("_rate", "_cal")) as hdus:
        (header,) = (
            h.header for h in hdus if h.name == "SCI" and h.header["SOURCEID"] == number
        )  # fmt: skip
    y, x = header["SLTSTRT2"] - 1, header["SLTSTRT1"] - 1
    box = slice(max(0, y - 3), y + header["SLTSIZE2"] + 3), slice(x, x + header["SLTSIZE1"])
    link.unlink()
    with fits.open(original) as hdus:
        hdus["SCI"].data[box] = np.nan
        hdus["DQ"].data[box] |= 1
        hdus.writeto(link)


SKIPPED = (
    "group_scale", "dq_init", "saturation", "ipc", "superbias", "refpix", "linearity",
    "dark_current", "charge_migration", "jump", "picture_frame", "clean_flicker_noise",
    "persistence", "gain_scale",
)  # fmt: skip
GROUPS, GROUP_TIME = 4, 400.0


def write_ramp(rate, path):
    """Write the ramp that a slope image came from, in whole counts above a pedestal."""
    with datamodels.open(rate) as model:
        counts = np.nan_to_num(model.data) * GROUP_TIME
        ramp = 1000 + counts * np.arange(1, GROUPS + 1)[:, None, None]
        uncal = datamodels.Level1bModel(data=np.round(ramp[None]).astype(np.uint16))
        uncal.update(model)
        uncal.meta.exposure.instance.update(
            ngroups=GROUPS, nints=1, nframes=1, groupgap=0, readpatt="NRSRAPID",
            group_time=GROUP_TIME, frame_time=GROUP_TIME,
        )  # fmt: skip
        uncal.meta.cal_step.instance.clear()
        uncal.meta.filename = path.name
        uncal.save(str(path))


def write_references(folder):
    """Write gain and read noise; returns the parameters that name them."""
    parameters = {}
    models = {"gain": datamodels.GainModel, "readnoise": datamodels.ReadnoiseModel}
    for name, model_class in models.items():
        model = model_class(data=np.ones((2048, 2048), np.float32))
        model.meta.instrument.instance.update(name="NIRSPEC", detector="NRS1")
        model.meta.subarray.instance.update(
            name="FULL", xstart=1, ystart=1, xsize=2048, ysize=2048, fastaxis=2, slowaxis=1
        )
        model.meta.instance.update(
            author="test", description="test", pedigree="DUMMY", useafter="2020-01-01T00:00:00"
        )
        parameters[f"override_{name}"] = str(folder / f"{name}.fits")
        model.save(parameters[f"override_{name}"])
    return parameters


@long
def test_from_uncal(simulated, made, tmp_path, crds):
    """A ramp gives the cube that its slope gives, within 1%; the slope image is kept if asked."""
    rate = files(simulated, "rate")[0]
    shutil.copy(next(simulated.glob("*_msa.fits")), tmp_path)
    uncal = tmp_path / rate.name.replace("_rate", "_uncal")
    write_ramp(rate, uncal)
    stage1 = {name: {"skip": True} for name in SKIPPED} | {"ramp_fit": write_references(tmp_path)}
    (cube,) = MSA3DPipeline.call(
        str(uncal), sources=["1"], save_results=True, output_dir=str(tmp_path / "out"),
        maximum_cores="none",
        steps={"detector1": {"steps": stage1, "save_results": True}, **NARROW},
    )  # fmt: skip
    (expected,) = MSA3DSpec3Pipeline.call(
        str(made[0] / rate.name.replace("_rate", "_cal")), sources=["1"], maximum_cores="none",
        steps=NARROW,
    )  # fmt: skip
    assert (tmp_path / "out" / rate.name).exists()
    assert cube.data.shape == expected.data.shape
    sums = [np.nansum(model.data * (model.nexp > 0), axis=0) for model in (cube, expected)]
    bright = sums[1] > 0.2 * sums[1].max()
    assert bright.sum() > 5
    np.testing.assert_allclose(sums[0][bright], sums[1][bright], rtol=0.01)


def test_detector_without_slits_is_not_asked_twice(simulated, tmp_path, crds, monkeypatch):
    """Where the detector sees none of the slits there is no problem, and no second try."""
    calls = []

    def no_data(self, exposure):
        calls.append(exposure)
        raise NoDataOnDetectorError("no slit on it")

    monkeypatch.setattr(MSA3DSpec2Pipeline, "run", no_data)
    inputs = [str(files(simulated, "rate")[1]), str(files(simulated, "cal")[0])]
    for _ in range(2):
        cubes = MSA3DPipeline.call(
            inputs, output_dir=str(tmp_path), save_results=True, maximum_cores="none",
            steps=NARROW,
        )  # fmt: skip
        assert len(cubes) == 3
    assert len(calls) == 1


def test_slitlet_without_repair_costs_the_others_nothing(simulated, tmp_path, crds, monkeypatch):
    """A problem of stage 2 with a part of an exposure is told, and the rest is used."""

    def with_problem(self, data):
        self.problems.append(Problem("cannot be repaired", "msa.fits", "7"))
        return [datamodels.open(str(data).replace("_rate", "_cal"))]

    monkeypatch.setattr(MSA3DSpec2Pipeline, "process", with_problem)
    with pytest.raises(IncompleteError) as raised:
        MSA3DPipeline.call(
            str(files(simulated, "rate")[0]), output_dir=str(tmp_path), save_results=True,
            maximum_cores="none", steps=NARROW,
        )  # fmt: skip
    assert raised.value.problems == [Problem("cannot be repaired", "msa.fits", "7")]
    assert list(raised.value.result.paths) == LABELS


def test_without_references(simulated, tmp_path):
    """No CRDS: said at once, with the mend."""
    process = strun(
        Path(tmp_path), "msa3d", files(simulated, "rate")[0], f"--output_dir={tmp_path}"
    )
    status, said = finished(process)
    assert status == 1
    words = " ".join(said.split())
    assert "calibration needs reference files, and CRDS does not answer: set CRDS_PATH" in words
    assert "Traceback" not in said


def test_cal_files_need_no_references(simulated, tmp_path):
    """The same pipeline from cal files on."""
    cubes = MSA3DPipeline.call(
        [str(p) for p in files(simulated, "cal")[:2]], output_dir=str(tmp_path), save_results=True,
        maximum_cores="none", sources=["2"], steps=NARROW,
    )  # fmt: skip
    assert list(cubes.paths) == ["s000000002"]


def test_references_as_models_are_refused(simulated, tmp_path, crds):
    """Another process cannot have them."""
    photom = {"override_area": datamodels.ReferenceFileModel()}
    with pytest.raises(InputError, match="override_area of photom is a model; give the path"):
        MSA3DPipeline.call(
            str(files(simulated, "rate")[0]), output_dir=str(tmp_path), save_results=True,
            steps={"spec2": {"steps": {"photom": photom}}},
        )  # fmt: skip


@long
def test_go2136_leaves_corrections_out(simulated, made, tmp_path):
    """Stage 2 of the published reduction divides by neither bar shadow nor path loss."""
    root = Path(__file__).parents[2] / "parameter_refs"
    rate = files(simulated, "rate")[0]
    shutil.copy(next(simulated.glob("*_msa.fits")), tmp_path)
    (tmp_path / rate.name).symlink_to(rate)
    status, said = finished(
        strun(
            simulated, root / "msa3d_spec2_go2136.asdf", rate.name, "--output_dir=out",
            "--steps.extract_2d.source_ids=1", cwd=tmp_path,
        )
    )  # fmt: skip
    assert status == 0, said[-3000:]
    name = rate.name.replace("_rate", "_cal")
    with fits.open(tmp_path / "out" / name) as theirs, fits.open(made[0] / name) as ours:
        for keyword, wanted in (("S_BARSHA", "SKIPPED"), ("S_PTHLOS", "SKIPPED"),
                                ("S_PHOTOM", "COMPLETE"), ("S_FLAT", "COMPLETE")):  # fmt: skip
            assert theirs[0].header[keyword] == wanted
            assert ours[0].header[keyword] == "COMPLETE"
        assert [h.header["SOURCEID"] for h in theirs if h.name == "SCI"] == [1]
        version = next(h.ver for h in ours if h.name == "SCI" and h.header["SOURCEID"] == 1)
        corrections = ours["PATHLOSS_UN", version].data * ours["BARSHADOW", version].data
        np.testing.assert_allclose(
            theirs["SCI"].data, ours["SCI", version].data * corrections, rtol=1e-5
        )
        assert np.nanmax(np.abs(corrections - 1)) > 0.1
