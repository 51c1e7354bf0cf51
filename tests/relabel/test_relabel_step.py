"""The step on simulated rate images, with jwst's own steps after it."""

import json
import os
import subprocess
import sys
import warnings
from pathlib import Path

import asdf
import numpy as np
import pytest
from astropy.io import fits
from disease import infect
from jwst.assign_wcs import AssignWcsStep
from jwst.extract_2d import Extract2dStep
from stdatamodels.jwst import datamodels

from msa3d_steps import IncompleteError, InputError, MSA3DRelabelStep
from msa3d_steps.relabel.metafile import is_repaired
from msa3d_steps.simulate.config import Survey
from msa3d_steps.simulate.exposure import ExposureName
from msa3d_steps.simulate.metafile import Slitlet, write_metafile
from msa3d_steps.simulate.record import read_truth
from msa3d_steps.simulate.references.crds import environment
from msa3d_steps.simulate.survey import write_survey

SURVEY = Survey(
    level="rate", steps=1, dithers=3, noise=False,
    sources=({"source_id": 8512}, {"source_id": 123456}),
)  # fmt: skip
METAFILE = "jw09999001001_01_msa.fits"
COPY = "jw09999001001_01_relabel_msa.fits"
HOOK = "--steps.assign_wcs.pre_hooks=msa3d_steps.MSA3DRelabelStep,"


def rate(number):
    return f"jw09999001001_03101_{number:05d}_nrs1_rate.fits"


@pytest.fixture(scope="session")
def healthy(tmp_path_factory):
    """A survey as it should be: two galaxies, three dither points."""
    folder = tmp_path_factory.mktemp("healthy") / "survey"
    for number in (1, 2, 3):  # one detector is enough: of the other the exposures are there
        (folder / "truth").mkdir(parents=True, exist_ok=True)
        other = ExposureName(number, "NRS2")
        for path in (folder / other.file("rate"), folder / "truth" / other.file("truth")):
            path.touch()
    write_survey(SURVEY, folder)
    return folder


@pytest.fixture(scope="session")
def ill(healthy, tmp_path_factory):
    """The same exposures with an ill metafile."""
    folder = tmp_path_factory.mktemp("ill")
    for number in (1, 2, 3):
        (folder / rate(number)).symlink_to(healthy / rate(number))
    infect(healthy / METAFILE, folder / METAFILE)
    return folder


@pytest.fixture
def crds(healthy, monkeypatch):
    for name, value in environment(healthy / "crds").items():
        monkeypatch.setenv(name, value)


def cut_out(exposure, **options):
    """Cut the slitlets out with jwst's steps: their attributes, by slitlet number."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "'get_cache_lock'", DeprecationWarning)  # stpipe's
        cutouts = Extract2dStep.call(AssignWcsStep.call(exposure, **options))
    names = (
        "source_id", "source_name", "source_ra", "source_dec", "quadrant", "xcen", "ycen",
        "shutter_state", "xstart", "xsize", "ystart", "ysize",
    )  # fmt: skip
    return {slit.name: {name: getattr(slit, name) for name in names} for slit in cutouts.slits}


@pytest.fixture(scope="session")
def truth(healthy):
    """What jwst cuts out with the healthy metafile.

    It is the same for all exposures: dithers move the galaxies, not the slitlets.
    """
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment(healthy / "crds").items():
            patch.setenv(name, value)
        return cut_out(str(healthy / rate(1)))


def test_truth_is_the_survey(truth, healthy):
    sources = read_truth(healthy).scene.sources
    assert [source.source_id for source in sources] == [8512, 123456]
    for slit, source in zip(truth.values(), sources, strict=True):
        assert (slit["source_id"], slit["shutter_state"]) == (source.source_id, "11x11")
        assert slit["ysize"] > 5 * 0.53 / 0.11  # five shutters, at most 0.11 arcsec to the pixel


def test_jwst_alone_spoils_the_slitlets(ill, truth, crds):
    found = {number: cut_out(str(ill / rate(number))) for number in (1, 2, 3)}
    # the wide id is lost, and with it name and place; no other slitlet of the first is touched
    assert found[1]["1"] == truth["1"]
    assert found[1]["2"]["source_id"] == -7616
    # a virtual source instead of the galaxy, counted from another shutter; one slitlet is not there
    assert list(found[2]) == ["1"]
    assert found[2]["1"]["source_id"] < 0
    assert found[2]["1"]["ycen"] == truth["1"]["ycen"] + 1
    # background, and cut short by a shutter
    for name, slit in found[3].items():
        assert slit["source_name"] == f"9999_BKG{name}"
        assert slit["ysize"] < truth[name]["ysize"] - 4


@pytest.mark.parametrize("number", [1, 3])  # the second with the hook below
def test_all_slitlets_are_whole(ill, truth, crds, tmp_path, monkeypatch, number):
    monkeypatch.chdir(tmp_path)
    before = (ill / METAFILE).read_bytes()
    exposure = MSA3DRelabelStep.call(str(ill / rate(number)))
    assert cut_out(exposure) == truth
    assert exposure.meta.instrument.msa_metadata_file == str(tmp_path / COPY)
    assert (ill / METAFILE).read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == [COPY]


def test_hook_of_assign_wcs(ill, truth, crds, tmp_path, monkeypatch):
    """The result of the hook is what assign_wcs works on; a user's model stays as it is."""
    monkeypatch.chdir(tmp_path)
    with datamodels.open(ill / rate(2)) as model:
        step = MSA3DRelabelStep(msa_metafile=str(ill / METAFILE))
        assert cut_out(model, pre_hooks=[step]) == truth
        assert model.meta.instrument.msa_metadata_file == METAFILE


def test_error_of_the_hook_is_not_passed_over(ill, crds, tmp_path):
    step = MSA3DRelabelStep(msa_metafile="nowhere_msa.fits")
    with pytest.raises(InputError, match=r"nowhere_msa\.fits is not there"):
        cut_out(str(ill / rate(1)), pre_hooks=[step])


def strun(folder, *command, **variables):
    command = [str(Path(sys.executable).with_name("strun")), *map(str, command)]
    environ = {"PATH": os.environ["PATH"], "HOME": str(folder), **variables}
    return subprocess.run(
        command, cwd=folder, env=environ, capture_output=True, text=True, check=False
    )


@pytest.mark.skipif(not os.environ.get("MSA3D_LONG"), reason="set MSA3D_LONG=1: it takes long")
def test_hook_in_spec2(ill, truth, healthy, tmp_path):
    """The copy goes to the output folder; the products name the galaxies."""
    skipped = ["resample_spec", "extract_1d", "flat_field", "pathloss", "barshadow", "wavecorr"]
    done = strun(
        tmp_path, "calwebb_spec2", ill / rate(2), HOOK, "--output_dir=out",
        *[f"--steps.{step}.skip=true" for step in skipped], **environment(healthy / "crds"),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert names == [COPY, rate(2).replace("rate", "cal")]
    assert not list(tmp_path.glob("*.fits"))
    with datamodels.open(tmp_path / "out" / names[1]) as cal:
        for slit in cal.slits:
            expected = truth[slit.name]
            assert (slit.source_id, slit.ysize) == (expected["source_id"], expected["ysize"])
        assert len(cal.slits) == 2


def test_strun_saves_the_exposure_with_its_metafile(ill, tmp_path):
    """No CRDS needed; the exposure names the file beside it, so that both can be moved."""
    done = strun(tmp_path, "msa3d_relabel", ill / rate(3), "--output_dir=out")
    assert done.returncode == 0, done.stderr[-3000:]
    saved = rate(3).replace("rate", "relabel")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [COPY, saved]
    assert fits.getval(tmp_path / "out" / saved, "MSAMETFL") == COPY


def test_again_is_no_copy_of_a_copy(ill, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    first = MSA3DRelabelStep.call(str(ill / rate(1)))
    copy = Path(first.meta.instrument.msa_metadata_file)
    before = copy.read_bytes(), copy.stat().st_mtime_ns
    (tmp_path / "elsewhere").mkdir()
    again = MSA3DRelabelStep.call(first, output_dir=str(tmp_path / "elsewhere"))
    assert again.meta.instrument.msa_metadata_file == str(copy)
    MSA3DRelabelStep.call(str(ill / rate(2)))
    assert (copy.read_bytes(), copy.stat().st_mtime_ns) == before
    assert [p.name for p in tmp_path.rglob("*.fits")] == [COPY]
    assert is_repaired(copy)


def test_run_file(ill, tmp_path, monkeypatch):
    """A run file names the exposure and the metafile."""
    (tmp_path / "files").mkdir()
    metafile = tmp_path / "files" / "other_msa.fits"
    metafile.write_bytes((ill / METAFILE).read_bytes())
    tree = {
        "class": "msa3d_steps.MSA3DRelabelStep", "name": "msa3d_relabel", "parameters": {},
        "inputs": {"members": [str(ill / rate(1))], "msa_metafile": "other_msa.fits"},
    }  # fmt: skip
    asdf.AsdfFile(tree).write_to(tmp_path / "files" / "run.asdf")
    monkeypatch.chdir(tmp_path)
    MSA3DRelabelStep.call("files/run.asdf")
    with fits.open(tmp_path / rate(1).replace("rate", "relabel")) as hdus:
        assert hdus[0].header["MSAMETFL"] == "other_relabel_msa.fits"


def test_long_folders(ill, tmp_path, monkeypatch):
    """A path too long for one FITS card survives a file."""
    folder = tmp_path.joinpath(*["a folder with a long name"] * 5)
    folder.mkdir(parents=True)
    model = MSA3DRelabelStep.call(str(ill / rate(1)), output_dir=str(folder))
    model.save(str(tmp_path / "x_rate.fits"))
    with datamodels.open(tmp_path / "x_rate.fits") as saved:
        assert saved.meta.instrument.msa_metadata_file == str(folder / COPY)
    assert fits.getval(tmp_path / "x_rate.fits", "MSAMETFL") == str(folder / COPY)


def small(folder, **instrument):
    """A small exposure with a metafile that is not there."""
    model = datamodels.ImageModel((4, 4))
    model.meta.exposure.type = "NRS_MSASPEC"
    model.meta.dither.position_number = 1
    keywords = {"msa_metadata_id": 1, "msa_metadata_file": "x_msa.fits"} | instrument
    for name, value in keywords.items():
        setattr(model.meta.instrument, name, value)
    path = folder / "x_rate.fits"
    model.save(str(path))
    return path


@pytest.mark.parametrize(
    ("instrument", "words"),
    [
        ({}, r"x_rate.fits: its MSA metafile x_msa.fits is not there; download it from MAST"),
        ({"msa_metadata_file": None}, "x_rate.fits: names no MSA metafile"),
        ({"msa_metadata_file": "N/A"}, "x_rate.fits: names no MSA metafile"),
        ({"msa_metadata_id": None}, "x_rate.fits: has no keyword MSAMETID"),
    ],
)
def test_what_is_missing_is_named(tmp_path, monkeypatch, instrument, words):
    monkeypatch.chdir(tmp_path)
    path = small(tmp_path, **instrument)
    with pytest.raises(InputError, match=words):
        MSA3DRelabelStep.call(str(path))
    assert [p.name for p in tmp_path.iterdir()] == ["x_rate.fits"]


def test_metafile_of_another_programme(ill, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = small(tmp_path, msa_metadata_id=7)
    with pytest.raises(
        InputError, match=r"x_rate.fits: its MSA metafile .* no shutters for metadata id 7"
    ):
        MSA3DRelabelStep.call(str(path), msa_metafile=str(ill / METAFILE))
    assert [p.name for p in tmp_path.iterdir()] == ["x_rate.fits"]


def test_several_exposures_are_refused(tmp_path):
    (tmp_path / "asn.json").write_text(json.dumps({}))
    with pytest.raises(InputError, match="one exposure at a time"):
        MSA3DRelabelStep.call(str(tmp_path / "asn.json"))


def test_other_modes_stay_as_they_are():
    model = datamodels.ImageModel((4, 4))
    model.meta.exposure.type = "NRS_FIXEDSLIT"
    found = MSA3DRelabelStep.call(model)
    assert found.meta.instrument.msa_metadata_file is None
    assert np.array_equal(found.data, model.data)


def test_slitlet_that_is_left_out(tmp_path, monkeypatch):
    """The others are repaired; the step says which one is missing and fails at the end."""
    monkeypatch.chdir(tmp_path)
    path = small(tmp_path)
    slitlets = [
        Slitlet(7, 2, 295, 33, 5, 8512, "2136_8512", "8512", 150.12, 2.3),
        Slitlet(9, 3, 11, 120, 3, 40, "2136_40", "40", 150.2, 2.4),
    ]
    write_metafile(tmp_path / "x_msa.fits", slitlets, 2)
    with fits.open(tmp_path / "x_msa.fits", mode="update") as hdus:
        rows = hdus["SHUTTER_INFO"].data
        rows["source_id"][(rows["source_id"] == 8512) & (rows["dither_point_index"] == 2)] = 40
    with pytest.raises(IncompleteError, match=r"x_msa.fits, slit 7: is left out") as caught:
        MSA3DRelabelStep.call(str(path))
    assert "shutter 33 is given to more than one" in str(caught.value)
    with caught.value.result as repaired:
        copy = repaired.meta.instrument.msa_metadata_file
    assert set(fits.getdata(copy, "SHUTTER_INFO")["slitlet_id"]) == {9}
