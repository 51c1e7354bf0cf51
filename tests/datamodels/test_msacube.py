"""The product: what is in it, and that stock software opens it."""

import subprocess
import sys
import warnings

import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS, FITSFixedWarning
from jwst.datamodels import ModelContainer
from scene import as_model
from stdatamodels.jwst import datamodels
from stdatamodels.jwst.datamodels.dqflags import pixel as dqflags

from msa3d_steps import MSA3DCubeStep, MSACubeModel


@pytest.fixture(scope="module", params=["linear", "table"])
def cube(request, small_survey):
    models = [as_model(s) for s in small_survey]
    linear = request.param == "linear"
    return MSA3DCubeStep.call(ModelContainer(models), linear_wave=linear, cube_pa=25.0)[0]


@pytest.fixture(params=["fits", "asdf"])
def saved(request, cube, tmp_path):
    return cube.save(str(tmp_path / f"cube_s3d.{request.param}"))


def test_planes(cube):
    shape = cube.data.shape
    for name, kind in (
        ("err", "f4"), ("weightmap", "f4"), ("etime", "f4"), ("dq", "u4"), ("nexp", "i2"),
    ):  # fmt: skip
        assert getattr(cube, name).shape == shape
        assert getattr(cube, name).dtype == np.dtype(kind)
    covered = np.isfinite(cube.data)
    assert covered.any()
    assert not covered.all()
    np.testing.assert_array_equal(covered, np.isfinite(cube.err))
    np.testing.assert_array_equal(covered, cube.weightmap > 0)
    np.testing.assert_array_equal(covered, cube.nexp > 0)
    np.testing.assert_array_equal(covered, cube.etime > 0)
    no_coverage = dqflags["DO_NOT_USE"] | dqflags["NON_SCIENCE"]
    np.testing.assert_array_equal(cube.dq, np.where(covered, 0, no_coverage))


def test_tables_and_metadata(cube):
    table = cube.exposure_table
    assert len(table) == 6
    assert sorted(table["step"].tolist()) == [0, 0, 0, 1, 1, 1]
    assert sorted(table["dither"].tolist()) == [0, 0, 1, 1, 2, 2]
    assert (table["pixels_used"] > 1000).all()
    assert len(cube.hdrtab) == 6
    found = cube.meta.msa3d
    assert (found.n_steps, found.n_dithers, found.n_exposures) == (2, 3, 6)
    assert found.step_size == pytest.approx(0.2, abs=1e-3)
    assert (found.source_id, found.source_name) == (933, "1345_933")
    assert cube.meta.bunit_data == cube.meta.bunit_err == "MJy/sr"
    assert cube.meta.exposure.effective_exposure_time == 6000
    assert cube.meta.cal_step.cube_build == "COMPLETE"


def world(path):
    with fits.open(path) as file, warnings.catch_warnings():
        warnings.simplefilter("ignore", FITSFixedWarning)
        return WCS(file["SCI"].header, file)


def test_fits_wcs_and_gwcs_agree(cube, tmp_path):
    """To 1e-6 pixel, in the sky and in wavelength."""
    path = cube.save(str(tmp_path / "cube_s3d.fits"))
    nz, ny, nx = cube.data.shape
    pixels = np.random.default_rng(4).uniform(0, 1, (50, 3)) * [nx - 1, ny - 1, nz - 1]
    wcs = world(path)
    scale = wcs.wcs.cdelt[0]
    expected = np.array(cube.meta.wcs(*pixels.T))
    found = wcs.wcs_pix2world(pixels, 0).T
    sky = (found[:2] - expected[:2]) / scale
    sky[0] *= np.cos(np.deg2rad(expected[1]))
    assert np.abs(sky).max() < 1e-6
    unit = 1e6 if wcs.wcs.cunit[2] == "m" else 1
    channel = np.diff(cube.wavelengths).min()
    assert np.abs(found[2] * unit - expected[2]).max() / channel < 1e-6
    middles = cube.meta.wcs(0, 0, np.arange(nz))[2]
    assert np.abs(middles - cube.wavelengths).max() / channel < 1e-3  # the table has 32 bits


def test_stock_software_opens_it(saved, cube):
    """As an IFUCubeModel, and with no warning (warnings are errors here)."""
    with datamodels.open(saved) as model:
        assert type(model) is datamodels.IFUCubeModel
        np.testing.assert_array_equal(model.data, cube.data)
        np.testing.assert_array_equal(model.wavetable["wavelength"], cube.wavetable["wavelength"])
        assert model.meta.wcs(1, 2, 3) == cube.meta.wcs(1, 2, 3)


def test_stock_software_opens_it_without_us(saved):
    """In a process that never imports this package."""
    code = (
        "import sys, warnings; warnings.simplefilter('error')\n"
        "from stdatamodels.jwst import datamodels\n"
        f"model = datamodels.open({saved!r})\n"
        "assert type(model) is datamodels.IFUCubeModel\n"
        "assert not [m for m in sys.modules if m.startswith('msa3d_steps.datamodels')]\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def plain(column):
    """A column whose strings, bytes or not, are without padding."""
    return np.char.strip(column.astype(str)) if column.dtype.kind in "SU" else column


def test_round_trip_loses_nothing(saved, cube):
    with MSACubeModel(saved) as model:
        for name in ("data", "err", "dq", "weightmap", "etime", "nexp"):
            np.testing.assert_array_equal(getattr(model, name), getattr(cube, name))
        for name in ("exposure_table", "hdrtab", "wavetable"):
            a, b = getattr(model, name), getattr(cube, name)
            assert set(a.dtype.names) == set(b.dtype.names)
            for column in a.dtype.names:
                np.testing.assert_array_equal(plain(a[column]), plain(b[column]))
        assert model.meta.msa3d.instance == cube.meta.msa3d.instance
        assert model.meta.filename == saved.rsplit("/", 1)[-1]
        assert model.meta.wcs(3, 2, 1) == cube.meta.wcs(3, 2, 1)


def test_through_stock_software_and_back(saved, cube, tmp_path):
    """Opened and saved by stock stdatamodels, everything is still there."""
    again = str(tmp_path / f"again.{saved.rsplit('.', 1)[-1]}")
    with datamodels.open(saved) as model:
        model.save(again)
    with MSACubeModel(again) as model:
        np.testing.assert_array_equal(model.etime, cube.etime)
        np.testing.assert_array_equal(model.nexp, cube.nexp)
        assert len(model.exposure_table) == 6
        assert model.meta.msa3d.n_steps == 2


def test_keywords(cube, tmp_path):
    header = fits.getheader(cube.save(str(tmp_path / "cube_s3d.fits")))
    assert header["DATAMODL"] == "IFUCubeModel"
    assert (header["NSTEPS"], header["NDITHERS"], header["SRCLABEL"]) == (2, 3, "s000000933")


def test_nothing_is_left_of_a_failed_save(cube, tmp_path, monkeypatch):
    """A full disk in the middle of writing leaves an older file as it was, and no other."""
    path = tmp_path / "cube_s3d.fits"
    cube.save(str(path))
    before = path.read_bytes()

    def fail(*args, **kwargs):
        args[0].write(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(fits.hdu.base._BaseHDU, "_writeto", lambda *a, **k: fail(a[1]._file))
    with pytest.raises(OSError, match="No space"):
        cube.save(str(path))
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["cube_s3d.fits"]
