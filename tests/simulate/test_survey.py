"""The command ``msa3d_simulate``: files, cubes, truth, resuming, refusals, noise."""

import dataclasses
import json
import logging
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS
from stdatamodels.jwst import datamodels

import msa3d_steps
from msa3d_steps import InputError, MSA3DCubeStep
from msa3d_steps.simulate import survey as survey_module
from msa3d_steps.simulate.bench import prepare
from msa3d_steps.simulate.cli import main
from msa3d_steps.simulate.config import Survey
from msa3d_steps.simulate.exposure import ExposureName
from msa3d_steps.simulate.record import read_truth
from msa3d_steps.simulate.survey import Products, _make_exposure, write_survey

COMMAND = str(Path(sys.executable).with_name("msa3d_simulate"))
SURVEY = Survey(
    grating="PRISM", n_sources=1, steps=1, dithers=2, shutters=3, seed=4, cosmic_rays=True,
    jitter=0.01,
)  # fmt: skip
OPTIONS = ["--grating=PRISM", "--n-sources=1", "--steps=1", "--dithers=2", "--shutters=3",
           "--seed=4", "--cosmic-rays", "--jitter=0.01", "--quiet"]  # fmt: skip
EXPOSURES = [f"jw09999001001_03101_0000{n}_nrs1" for n in (1, 2)]


def command(*arguments):
    """Run the command in this process, and leave logging as it was; gives its exit status."""
    loggers = [logging.getLogger(name) for name in ("", "msa3d_simulate", "msa3d_steps")]
    before = [(log.level, log.propagate, list(log.handlers)) for log in loggers]
    try:
        return main([str(argument) for argument in arguments])
    finally:
        for log, (level, propagate, handlers) in zip(loggers, before, strict=True):
            log.setLevel(level)
            log.propagate, log.handlers = propagate, handlers


def simulate(folder, *options):
    """Make the survey with the command."""
    return command(folder, *OPTIONS, "--maximum-cores=none", *options)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A survey, and what it was made with; tests must not change it."""
    benches = []

    def keep(*arguments):
        benches.append(prepare(*arguments))
        return benches[-1]

    folder = tmp_path_factory.mktemp("survey") / "made" / "here"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(survey_module, "prepare", keep)
        assert simulate(folder) == 0
    (bench,) = benches
    return folder, bench


@pytest.fixture(scope="module")
def folder(made):
    return made[0]


@pytest.fixture(scope="module")
def bench(made):
    return made[1]


@pytest.fixture
def prepared(bench, monkeypatch):
    """The command finds the slitlets laid out; other processes do not."""
    monkeypatch.setattr(survey_module, "prepare", lambda *_: bench)


@pytest.fixture(scope="module")
def cube(folder, tmp_path_factory):
    """The survey's cube: model and file."""
    out = tmp_path_factory.mktemp("cube")
    models = MSA3DCubeStep.call(
        str(folder / "msa3d_cube.asdf"), save_results=True, output_dir=str(out)
    )
    (path,) = out.glob("*_s3d.fits")
    return models[0], path


def planes(path):
    """All arrays of a file but its ASDF tree, by name and number."""
    with fits.open(path) as hdus:
        return {(h.name, h.ver): np.array(h.data) for h in hdus[1:] if h.name != "ASDF"}


def assert_same(one, other):
    """Hold two files against each other, bit for bit."""
    one, other = planes(one), planes(other)
    assert one.keys() == other.keys()
    for key, array in one.items():
        assert array.tobytes() == other[key].tobytes(), key


def listing(folder):
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if "crds" not in p.parts)


class TestFiles:
    def test_are_complete_and_named_as_the_ground_system_does(self, folder):
        assert listing(folder) == sorted([
            *(f"{name}_cal.fits" for name in EXPOSURES),
            "jw09999-o001_asn.json", "jw09999001001_01_msa.fits", "msa3d_cube.asdf", "truth",
            *(f"truth/{name}_truth.fits" for name in EXPOSURES),
            "truth/slits.asdf", "truth/survey.json", "truth/truth.asdf",
        ])  # fmt: skip
        assert (folder / "crds" / "config" / "jwst" / "server_config").exists()

    def test_association_names_them_all(self, folder):
        asn = json.loads((folder / "jw09999-o001_asn.json").read_text())
        (product,) = asn["products"]
        assert [m["expname"] for m in product["members"]] == [f"{n}_cal.fits" for n in EXPOSURES]
        assert product["name"] == "jw09999-o001_{source_id}_nirspec_clear-prism"

    def test_headers(self, folder):
        with datamodels.open(folder / f"{EXPOSURES[1]}_cal.fits") as model:
            assert isinstance(model, datamodels.MultiSlitModel)
            assert model.meta.filename == f"{EXPOSURES[1]}_cal.fits"
            assert model.meta.instrument.msa_metadata_file == "jw09999001001_01_msa.fits"
            assert model.meta.exposure.exposure_time == 1800
            assert model.meta.instrument.grating == "PRISM"
            assert model.meta.dither.y_offset == pytest.approx(0.0875)
            (slit,) = model.slits
            assert (slit.source_id, slit.source_name) == (1, "9999_1")
            assert slit.source_type == "EXTENDED"
            assert slit.meta.bunit_data == "MJy/sr"

    def test_light_lies_where_the_wcs_says(self, folder):
        """The truth's brightness is the scene's at the pixels' own sky positions and wavelengths.

        Along the slit the galaxy is widened by pixels, not moved: its centroid in the continuum
        is the source's own place within 3 mas.
        """
        truth = read_truth(folder)
        source = truth.source(1)
        for name in EXPOSURES:
            with (
                datamodels.open(folder / f"{name}_cal.fits") as model,
                fits.open(folder / "truth" / f"{name}_truth.fits") as file,
            ):
                slit, shown = model.slits[0], file["NOISE_FREE", 1].data.astype(float)
                y, x = np.mgrid[: shown.shape[0], : shown.shape[1]].astype(float)
                ra, dec, lam = slit.meta.wcs(x, y)
            light = shown - truth.scene.background(lam)
            east, north = source.offsets(ra, dec)
            unit = np.array([np.sin(np.pi / 6), np.cos(np.pi / 6)])  # slits at 30 degrees
            along = east * unit[0] + north * unit[1]
            seen = np.isfinite(light).all(axis=0) | (np.isfinite(light).sum(axis=0) > 15)
            centroid = np.nansum((light * along)[:, seen]) / np.nansum(light[:, seen])
            assert abs(centroid) < 0.02
            assert np.nanmax(np.abs(shown[:, seen])) > 5 * np.nanmax(truth.scene.background(lam))

    def test_a_cube_of_the_run_file(self, cube):
        model, path = cube
        assert path.name == "jw09999-o001_s000000001_nirspec_clear-prism_s3d.fits"
        assert model.meta.msa3d.n_dithers == 2
        assert np.isfinite(model.data).any()


class TestTruth:
    def test_is_read_back_as_it_was(self, folder, bench):
        truth = read_truth(folder)
        assert truth.survey == SURVEY
        assert truth.scene == bench.scene
        assert truth.psf == bench.psf
        assert truth.pointings == bench.pointings
        assert truth.source(1) == bench.scene.sources[0]
        with pytest.raises(InputError, match="no source 99"):
            truth.source(99)

    def test_cutouts_are_those_of_the_bench(self, folder, bench):
        mine, theirs = read_truth(folder).cutouts(1), bench.cutouts(1)
        assert len(mine) == len(theirs) == 2
        for (slit, pixels), (other_slit, other_pixels) in zip(mine, theirs, strict=True):
            assert slit == other_slit
            for field in dataclasses.fields(pixels):
                np.testing.assert_array_equal(
                    getattr(pixels, field.name), getattr(other_pixels, field.name)
                )

    def test_dispersion_is_that_of_the_pixels(self, folder):
        truth = read_truth(folder)
        _, pixels = truth.cutouts(1)[0]
        valid = np.isfinite(pixels.lam)
        error = truth.dispersion(pixels.lam[valid]) / pixels.bandpass[valid] - 1
        assert np.abs(error).max() < 0.02  # rows differ by tilt and by distortion

    def test_sources_of_a_file(self, tmp_path):
        """A record of other sources than the default ones is read back, too."""
        from msa3d_steps.simulate.record import write_truth

        survey = Survey(n_sources=2, sources=({"clumps": [[0.1, 0.2, 0.1]]}, {"kind": "point"}))
        sources = survey.make_sources([(1.0, 2.0, [(1.0, 1.8)]), (1.0, 2.1, [(1.0, 1.8)])])
        commanded, _ = survey.offsets()
        blank = prepare_blank(survey, sources, commanded)
        (tmp_path / "truth").mkdir()
        write_truth(tmp_path / "truth", blank)
        truth = read_truth(tmp_path)
        assert truth.scene.sources == tuple(sources)
        assert truth.survey.digest() == survey.digest()

    def test_of_a_folder_without_survey(self, tmp_path):
        with pytest.raises(InputError, match="no simulated survey is there"):
            read_truth(tmp_path)

    @pytest.mark.filterwarnings("ignore::astropy.wcs.FITSFixedWarning")  # no DATE-BEG in SCI
    def test_cube_on_the_grid_of_a_cube(self, folder, cube, capfd):
        _, path = cube
        assert command(folder, "--truth-for", path) == 0
        made = path.with_name(path.name.replace("_s3d", "_truth"))
        assert str(made) in capfd.readouterr().err
        with fits.open(path) as theirs, fits.open(made) as ours:
            assert ours["SCI"].shape == theirs["SCI"].shape
            assert ours["SCI"].header["BUNIT"] == "MJy/sr"
            assert ours[0].header["FILENAME"] == made.name
            assert ours[0].header["SRCLABEL"] == "s000000001"
            for key in ("CTYPE3", "CRVAL1", "CRVAL2", "CRPIX1", "PC1_2", "CDELT1", "PS3_0"):
                assert ours["SCI"].header[key] == theirs["SCI"].header[key]
            wave = [hdus["WCS-TABLE"].data["wavelength"] for hdus in (ours, theirs)]
            np.testing.assert_array_equal(*wave)
            wcs = [WCS(hdus["SCI"].header, hdus) for hdus in (ours, theirs)]
            places = [w.pixel_to_world_values(3, 5, 100) for w in wcs]
            np.testing.assert_array_equal(*places)
            truth, data, err = (
                hdu.data.astype(float) for hdu in (ours["SCI"], theirs["SCI"], theirs["ERR"])
            )
        # two dithers and one step: where there is light, the cube is near the truth
        close = np.isfinite(data) & (err < 0.1 * np.nanmax(truth))
        assert close.sum() > 1000
        assert np.corrcoef(truth[close], data[close])[0, 1] > 0.6

    def test_cube_of_what_is_no_cube(self, folder, tmp_path, capfd):
        assert command(folder, "--truth-for", folder / f"{EXPOSURES[0]}_cal.fits") == 1
        assert "give an s3d file" in capfd.readouterr().err
        assert command(tmp_path, "--truth-for", "any_s3d.fits") == 1
        assert "no simulated survey" in capfd.readouterr().err

    def test_cube_of_another_field(self, folder, cube, tmp_path, capfd):
        path = tmp_path / "other_s3d.fits"
        shutil.copy(cube[1], path)
        fits.setval(path, "CRVAL2", value=40.0, extname="SCI")
        assert command(folder, "--truth-for", path) == 1
        assert "other_s3d.fits: it is not of the field" in capfd.readouterr().err


def prepare_blank(survey, sources, commanded):
    """Make a bench of sources and hand-made slitlets, without optics."""
    from types import SimpleNamespace

    from msa3d_steps.simulate.geometry import Pointing, SlitPlace
    from msa3d_steps.simulate.metafile import Slitlet
    from msa3d_steps.simulate.scene.psf import Psf
    from msa3d_steps.simulate.scene.render import SlitPixels
    from msa3d_steps.simulate.scene.sources import Scene

    lam = np.linspace(1.0, 1.8, 20)[None] * np.ones((3, 1))
    pixels = SlitPixels(lam, np.zeros((3, 20)), np.full((3, 20), 0.04), 0.2)
    place = SlitPlace((0.0, 0.0, 1.0, 1.0), (0.0, 1.0, 0.0, 0.0), ((0.0,) * 4, (0.0,) * 4))
    slit = SimpleNamespace(name="1", model=SimpleNamespace(source_id=1), pixels=pixels, place=place)
    return SimpleNamespace(
        survey=survey, scene=Scene(tuple(sources)), psf=Psf.moffat(), commanded=commanded,
        pointings=(Pointing(1.0, 2.0, 3.0),), slits={"NRS1": [slit], "NRS2": []}, stuck=None,
        slitlets=(Slitlet(1, 3, 10, 10, 3, 1, "a", "a", 0, 0),),
    )  # fmt: skip


class TestAgain:
    def test_the_same_survey_makes_nothing_anew(self, folder, prepared):
        made = [p for p in folder.rglob("*.fits") if p.name[:24] in (n[:24] for n in EXPOSURES)]
        made += list((folder / "crds").rglob("*"))
        before = {p: p.stat().st_mtime_ns for p in made}
        counts = []
        products = write_survey(SURVEY, folder, 1, lambda *done: counts.append(done))
        assert {p: p.stat().st_mtime_ns for p in made} == before
        assert len(made) > 10
        assert counts == []
        assert products.folder == folder
        for path in (products.run_file, products.metafile, products.association, products.truth):
            assert path.exists()

    def test_only_what_is_missing_is_made_again_and_is_the_same(self, folder, prepared, tmp_path):
        own = tmp_path / "own"
        shutil.copytree(folder, own)
        missing = own / f"{EXPOSURES[1]}_cal.fits"
        missing.unlink()
        kept = own / f"{EXPOSURES[0]}_cal.fits"
        before = kept.stat().st_mtime_ns
        assert simulate(own) == 0
        assert kept.stat().st_mtime_ns == before
        assert_same(missing, folder / missing.name)
        assert_same(own / "truth" / f"{EXPOSURES[1]}_truth.fits",
                    folder / "truth" / f"{EXPOSURES[1]}_truth.fits")  # fmt: skip
        assert listing(own) == listing(folder)

    @pytest.mark.skipif(not os.environ.get("MSA3D_LONG"), reason="set MSA3D_LONG=1: it takes long")
    def test_a_killed_run_goes_on_in_two_processes_to_the_same_files(
        self, folder, prepared, tmp_path
    ):
        """Killed without warning between the first files and the last; then two processes."""
        own = tmp_path / "own"
        no_data = shutil.ignore_patterns("jw*_nrs1_*", "*.asdf", "*.json")
        shutil.copytree(folder, own, ignore=no_data)  # the references, for speed
        shutil.copytree(folder / "crds", own / "crds", dirs_exist_ok=True)
        arguments = [COMMAND, str(own), *OPTIONS, "--maximum-cores=none"]
        run = subprocess.Popen(arguments, stderr=subprocess.PIPE)
        try:
            wait_for(own / "truth" / "slits.asdf", run)
        finally:
            run.send_signal(signal.SIGKILL)
            run.communicate()
        assert len(list(own.glob("*_cal.fits"))) < 2
        for path in own.glob("*_cal.fits"):
            assert_same(path, folder / path.name)  # whole or not there
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("PYTHONWARNINGS", "ignore")  # of the workers
            counts = []
            write_survey(SURVEY, own, 2, lambda *done: counts.append(done))
        assert counts == [(1, 2), (2, 2)]
        for name in EXPOSURES:
            assert_same(own / f"{name}_cal.fits", folder / f"{name}_cal.fits")
            truth = f"truth/{name}_truth.fits"
            assert_same(own / truth, folder / truth)
        assert listing(own) == listing(folder)  # nothing unfinished is left

    def test_what_dead_runs_left_unfinished_is_removed(self, folder, prepared, tmp_path):
        own = tmp_path / "own"
        shutil.copytree(folder, own)
        dead = subprocess.Popen([sys.executable, "--version"], stdout=subprocess.DEVNULL)
        dead.wait()
        left, in_use = (own / f".unfinished-{pid}-abc" for pid in (dead.pid, os.getpid()))
        for scratch in (left, in_use):
            scratch.mkdir()
            (scratch / "half").write_text("")
        write_survey(SURVEY, own)
        assert not left.exists()
        assert in_use.exists()


def wait_for(path, process, seconds=120):
    """Wait until a file is there."""
    end = time.monotonic() + seconds
    while not path.exists():
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < end
        time.sleep(0.02)


class TestRefusals:
    @pytest.mark.parametrize(
        ("option", "name"),
        [("--steps=2", "steps"), ("--seed=5", "seed"), ("--no-noise", "noise")],
    )
    def test_a_folder_of_another_survey(self, option, name, folder, capfd):
        before = listing(folder)
        assert simulate(folder, option) == 1
        message = capfd.readouterr().err
        assert f"holds a survey with other options ({name})" in message
        assert "give another folder" in message
        assert listing(folder) == before

    def test_too_small_a_disk(self, prepared, tmp_path, monkeypatch, capfd):
        usage = type(shutil.disk_usage(tmp_path))(10**9, 10**9 - 10**7, 10**7)
        monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
        assert simulate(tmp_path / "own") == 1
        assert "needs 0.1 GB and the disk has 0.0 GB" in capfd.readouterr().err
        files = [p for p in (tmp_path / "own").rglob("*") if p.is_file()]
        assert not [p for p in files if p.name.endswith(("_cal.fits", "_truth.fits"))]
        assert not [p for p in files if p.name.startswith(".")]

    def test_a_folder_that_cannot_be_made(self, tmp_path, capfd):
        (tmp_path / "file").write_text("")
        assert simulate(tmp_path / "file" / "own") == 1
        assert "file" in capfd.readouterr().err

    @pytest.mark.skipif(os.getuid() == 0, reason="root may write anywhere")
    def test_a_folder_that_cannot_be_written(self, tmp_path, capfd):
        tmp_path.chmod(0o500)
        assert simulate(tmp_path / "own") == 1
        assert "Permission denied" in capfd.readouterr().err

    def test_a_wrong_option(self, tmp_path, capfd):
        assert simulate(tmp_path / "own", "--shutters=9") == 1
        assert "Survey: shutters is 9: give 1 to 7" in capfd.readouterr().err
        assert not (tmp_path / "own").exists()
        with pytest.raises(SystemExit) as exit_:
            simulate(tmp_path / "own", "--steps=many")
        assert exit_.value.code == 2

    def test_a_wrong_file(self, tmp_path, capfd):
        (tmp_path / "survey.toml").write_text("stepps = 3\n")
        assert simulate(tmp_path / "own", f"--config={tmp_path / 'survey.toml'}") == 1
        assert "survey.toml: no such line: stepps" in capfd.readouterr().err

    def test_no_folder(self, capfd):
        with pytest.raises(SystemExit) as exit_:
            command()
        assert exit_.value.code == 2
        assert "name a folder" in capfd.readouterr().err


class TestHelp:
    def test_tells_every_option_at_once(self):
        start = os.times()
        done = subprocess.run([COMMAND, "--help"], capture_output=True, text=True, check=True)
        end = os.times()
        used = end.children_user + end.children_system - start.children_user - start.children_system
        assert 0 < used < 10  # 2 s, whatever else the machine does
        for field in dataclasses.fields(Survey):
            if field.name != "sources":
                assert f"--{field.name.replace('_', '-')}" in done.stdout
                assert field.metadata["help"].split()[-1] in done.stdout

    def test_version(self, capsys):
        with pytest.raises(SystemExit) as exit_:
            command("--version")
        assert exit_.value.code == 0
        assert capsys.readouterr().out.strip() == msa3d_steps.__version__


class TestNoise:
    def read(self, folder, name):
        """Data, ERR, DQ, noise-free brightness and cosmic rays of the slitlet of an exposure."""
        with datamodels.open(folder / f"{name}_cal.fits") as model:
            slit = model.slits[0]
            window = (
                slice(slit.ystart - 1, slit.ystart - 1 + slit.ysize),
                slice(slit.xstart - 1, slit.xstart - 1 + slit.xsize),
            )
            data, err, dq = (np.array(getattr(slit, key)) for key in ("data", "err", "dq"))
        with fits.open(folder / "truth" / f"{name}_truth.fits") as file:
            return data, err, dq, file["NOISE_FREE", 1].data, file["COSMIC_RAYS"].data[window] > 0

    def make(self, bench, folder, **changes):
        """Make the first exposure of a bench of other options."""
        products = Products(folder)
        products.truth.parent.mkdir(parents=True)
        _make_exposure(dataclasses.replace(bench, **changes), products, ExposureName(1, "NRS1"))
        return self.read(folder, EXPOSURES[0])

    def test_is_as_wide_as_err_says(self, folder):
        deviations = []
        for name in EXPOSURES:
            data, err, dq, truth, hit = self.read(folder, name)
            good = np.isfinite(data) & ~hit & (dq & 1 == 0)
            deviations.append((data - truth)[good] / err[good])
        deviations = np.concatenate(deviations)
        assert deviations.size > 8000  # so the width is known to 0.8%
        assert np.std(deviations) == pytest.approx(1, abs=0.02)
        assert abs(np.mean(deviations)) < 0.05

    def test_the_mask_is_where_cosmic_rays_changed_the_data(self, folder, bench, tmp_path):
        quiet = dataclasses.replace(bench.noise, cosmic_ray_rate=0.0)
        without = self.make(bench, tmp_path, noise=quiet)
        data, _, _, truth, hit = self.read(folder, EXPOSURES[0])
        usable = np.isfinite(data)
        np.testing.assert_array_equal(truth, without[3])
        np.testing.assert_array_equal((data != without[0])[usable], hit[usable])
        assert hit[usable].sum() > 0
        assert not without[4].any()

    def test_follows_the_seed(self, folder, bench, tmp_path):
        survey = dataclasses.replace(SURVEY, seed=5)
        other = self.make(bench, tmp_path, survey=survey)
        data, _, _, truth, _ = self.read(folder, EXPOSURES[0])
        np.testing.assert_array_equal(truth, other[3])
        both = np.isfinite(data) & np.isfinite(other[0])
        assert (data != other[0])[both].mean() > 0.99
        difference = (data - other[0])[both]
        assert np.corrcoef((data - truth)[both], (other[0] - truth)[both])[0, 1] < 0.05
        assert difference.std() > 0

    def test_without_noise_the_data_are_the_truth_and_err_is_as_with_noise(
        self, folder, bench, tmp_path
    ):
        data, err, _, truth, hit = self.make(bench, tmp_path, noise=bench.noise.quiet())
        _, noisy_err, *_ = self.read(folder, EXPOSURES[0])
        good = np.isfinite(data) & np.isfinite(noisy_err)
        assert good.sum() > 4000
        np.testing.assert_allclose(data[good], truth[good], rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(err[good], noisy_err[good], rtol=1e-6)
        assert not hit.any()

    def test_exposures_differ(self, folder):
        one, two = (self.read(folder, name) for name in EXPOSURES)
        assert (one[0] - one[3])[10, 100] != (two[0] - two[3])[10, 100]


def test_rate_images_hold_the_light_of_their_slitlets(bench, tmp_path):
    """Rate over response is the brightness of the truth; outside of the slitlet there is none."""
    quiet = dataclasses.replace(
        bench, survey=dataclasses.replace(SURVEY, level="rate"), noise=bench.noise.quiet()
    )
    products = Products(tmp_path)
    products.truth.parent.mkdir()
    name = ExposureName(1, "NRS1")
    _make_exposure(quiet, products, name)
    slit, response = bench.slits["NRS1"][0], bench.responses["NRS1"][0]
    with datamodels.open(products.exposure(name, "rate")) as model:
        assert isinstance(model, datamodels.ImageModel)
        assert model.data.shape == (2048, 2048)
        rate = np.array(model.data)
    with fits.open(products.exposure_truth(name)) as file:
        truth = file["NOISE_FREE", 1].data
    shown = rate[slit.window] / response
    good = np.isfinite(shown) & (response > 0.01 * np.nanmax(response))
    assert good.sum() > 4000
    np.testing.assert_allclose(shown[good], truth[good], rtol=2e-5)
    assert not products.exposure(name, "cal").exists()
