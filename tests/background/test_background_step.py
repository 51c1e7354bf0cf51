"""`msa3d_background` as a step: files, models and plain cutouts."""

import numpy as np
import pytest
from astropy import units as u
from astropy.io import fits
from astropy.table import QTable, Table
from scene import as_model, pattern
from skies import Scene, galaxy, power_law
from stdatamodels.jwst import datamodels

from msa3d_steps import IncompleteError, InputError, MSA3DBackgroundStep
from msa3d_steps.cube.sources import Source

SKY = power_law(0.5, 1.5)


@pytest.fixture(scope="module")
def scene():
    return Scene(galaxy(), pattern(2, 2))


@pytest.fixture(scope="module")
def cutouts(scene):
    return scene.observe(SKY, np.random.default_rng(1))


@pytest.fixture
def source(cutouts):
    headers = [{"meta.cal_step.photom": "COMPLETE"} for _ in cutouts]
    return Source("s000000933", 933, "1345_933", cutouts=list(cutouts), headers=headers)


def slits(scene, cutouts, **names):
    """Plain slits with the data of cutouts."""
    for slit, cutout in zip(scene.slits, cutouts, strict=True):
        slit.data, slit.var_rnoise = cutout.data.copy(), cutout.read_variance.copy()
        slit.err = np.sqrt(cutout.variance)
        slit.var_poisson = cutout.variance - cutout.read_variance
        for name, value in {"source_id": 933, "source_name": "1345_933", **names}.items():
            setattr(slit, name, value)
        model = as_model(slit)
        model.shutter_state, model.dq = "11x11", slit.dq.copy()
        yield model


@pytest.fixture
def models(scene, cutouts):
    return list(slits(scene, cutouts))


def table(path, lam=(0.9, 1.1, 1.4), **columns):
    """A file of a spectrum: 1 to 1.5 MJy/sr."""
    columns = {"wavelength": np.array(lam) * u.um, "brightness": [1, 1.2, 1.5] * u.MJy / u.sr} | {
        key: value for key, value in columns.items() if value is not None
    }
    QTable(columns).write(path, overwrite=True)
    return str(path)


def test_cutouts_of_a_pipeline(scene, source):
    """The galaxy is left, its errors are those of data and sky, and the cube will say so."""
    result = MSA3DBackgroundStep().run(source)
    assert result.headers[0]["meta.cal_step.master_background"] == "COMPLETE"
    assert "meta.cal_step.master_background" not in source.headers[0]
    for light, before, after in zip(scene.light, source.cutouts, result.cutouts, strict=True):
        lit = np.isfinite(light)
        rest = after.data[lit] - light[lit]
        assert abs(rest.mean()) < 5 * np.sqrt(before.variance[lit].mean() / lit.sum())
        assert (before.data - after.data)[lit] == pytest.approx(scene.sky(SKY)[lit], abs=0.02)
        added = (after.variance - before.variance)[lit]
        assert (added > 0).all()
        assert added.mean() < 1e-2 * before.variance[lit].mean()
        assert (np.isfinite(after.data) == lit).all()


def test_models_and_files(models, source, tmp_path):
    """The same as for plain cutouts; the user's models and files stay as they are."""
    expected = MSA3DBackgroundStep().run(source)
    kept = [m.data.copy() for m in models]
    result = MSA3DBackgroundStep.call(models)
    for model, before, cutout in zip(result, kept, expected.cutouts, strict=True):
        np.testing.assert_allclose(model.data, cutout.data, atol=1e-5)
        np.testing.assert_allclose(model.err, np.sqrt(cutout.variance), rtol=1e-5)
        assert model.meta.cal_step.master_background == "COMPLETE"
        assert np.nanmean(before - model.data) == pytest.approx(0.5, rel=0.2)
    paths = []
    for model, before in zip(models, kept, strict=True):
        np.testing.assert_array_equal(model.data, before)
        assert model.meta.cal_step.master_background is None
        paths.append(tmp_path / model.meta.filename)
        model.save(paths[-1])
    out = tmp_path / "out"
    MSA3DBackgroundStep.call(paths, output_dir=str(out), save_results=True)
    written = sorted(path.name for path in out.iterdir())
    assert written == [p.name.replace("_cal", "_mbsub") for p in paths]
    with datamodels.open(out / written[0]) as model:
        np.testing.assert_allclose(model.data, expected.cutouts[0].data, atol=1e-5)


def test_sky_of_the_margin_stays(models, tmp_path):
    """Beyond the open shutters there is no sky to be subtracted."""
    models[0].data[:] = np.where(np.isfinite(models[0].data), models[0].data, 0)
    models[0].err[:] = 0.1
    models[0].dq[:] = 0
    before = models[0].data.copy()
    path = table(tmp_path / "sky.ecsv")
    result = MSA3DBackgroundStep.call(models, method="model", spectrum=path)
    y_slit = models[0].meta.wcs.get_transform("detector", "slit_frame")(
        *np.meshgrid(np.arange(400.0), np.arange(26.0))
    )[1]
    out = np.abs(y_slit) > 0.5 + 2 * 1.15 + 0.3
    assert out.any()
    np.testing.assert_array_equal(result[0].data[out], before[out])
    assert (result[0].data != before).mean() > 0.7


def test_refuses_to_subtract_twice(models):
    once = MSA3DBackgroundStep.call(models)
    with pytest.raises(InputError, match=r"subtracted already.*master_background.*leave out"):
        MSA3DBackgroundStep.call(once)
    models[1].meta.cal_step.bkg_subtract = "COMPLETE"
    with pytest.raises(InputError, match=r"00002_nrs1_cal.fits, slit 138.*bkg_subtract"):
        MSA3DBackgroundStep.call(models)


def test_background_slits_of_the_exposures(scene, models):
    """A galaxy that fills its slitlets is helped by the background slit of the same exposures."""
    random = np.random.default_rng(2)
    large = Scene(galaxy(sigma=0.7, flux=3.0), pattern(2, 2))
    full = list(slits(large, large.observe(SKY, random)))
    empty = Scene([], pattern(2, 2))
    blank = list(slits(empty, empty.observe(SKY, random), source_id=7, source_name="BKG_7"))
    with pytest.raises(
        InputError, match=r"00001_nrs1_cal.fits, slit 138: source s000000933: no part"
    ):
        MSA3DBackgroundStep.call(full)
    both = [datamodels.MultiSlitModel() for _ in full]
    for model, *parts in zip(both, full, blank, strict=True):
        model.update(parts[0])
        for part in parts:
            model.slits.append(part)
    result = MSA3DBackgroundStep.call(both)
    for model, light in zip(result, large.light, strict=True):
        rest = model.slits[0].data - light
        assert abs(np.nanmean(rest)) < 0.01
        assert abs(np.nanmean(model.slits[1].data)) < 0.01
    with pytest.raises(IncompleteError, match="s000000933") as caught:
        MSA3DBackgroundStep.call(both, use_background_slits=False)
    left = caught.value.result[0]
    np.testing.assert_array_equal(left.slits[0].data, full[0].data)
    assert abs(np.nanmean(left.slits[1].data)) < 0.01


def test_model_of_a_file(source, tmp_path):
    """The spectrum of the file is subtracted, straight between its entries."""
    error = [0.1, 0.1, 0.3] * u.MJy / u.sr
    path = table(tmp_path / "sky.ecsv", uncertainty=error)
    result = MSA3DBackgroundStep(method="model", spectrum=path).run(source)
    before, after = source.cutouts[0], result.cutouts[0]
    lam = before.footprint.wavelength(np.arange(400.0), np.arange(26.0))
    lit = np.isfinite(before.data)
    wanted = np.where(lam < 1.1, 1 + (lam - 0.9), 1.2 + (lam - 1.1))
    np.testing.assert_allclose((before.data - after.data)[lit], wanted[lit], atol=1e-5)
    sigma = np.where(lam < 1.1, 0.1, 0.1 + (lam - 1.1) * 2 / 3)
    added = after.variance[lit] - before.variance[lit]
    np.testing.assert_allclose(added, sigma[lit] ** 2, rtol=1e-3)


def test_kinds_of_files(source, tmp_path):
    """ECSV or FITS, other units, the names of jwst, and what the step itself has written."""
    wanted = MSA3DBackgroundStep(method="model", spectrum=table(tmp_path / "a.ecsv")).run(source)
    jwst = fits.BinTableHDU.from_columns(
        [
            fits.Column("WAVELENGTH", "D", unit="um", array=np.array([0.9, 1.1, 1.4])),
            fits.Column("SURF_BRIGHT", "D", unit="MJy/sr", array=np.array([1.0, 1.2, 1.5])),
            fits.Column("SB_ERROR", "D", unit="MJy/sr", array=np.zeros(3)),
        ],
        name="EXTRACT1D",
    )
    fits.HDUList([fits.PrimaryHDU(), jwst]).writeto(tmp_path / "b.fits")
    kiloes = {
        "wavelength": [1400, 1100, 900] * u.nm,
        "brightness": [1.5e3, 1.2e3, 1e3] * u.kJy / u.sr,
    }
    QTable(kiloes).write(tmp_path / "c.ecsv")
    Table({"wavelength": [0.9, 1.1, 1.4], "brightness": [1.0, 1.2, 1.5]}).write(tmp_path / "d.ecsv")
    for name in ("b.fits", "c.ecsv", "d.ecsv"):
        path = str(tmp_path / name)
        result = MSA3DBackgroundStep(method="model", spectrum=path).run(source)
        np.testing.assert_allclose(result.cutouts[1].data, wanted.cutouts[1].data, atol=1e-6)


def test_spectrum_is_saved_and_used_again(source, tmp_path):
    """..._sky.ecsv as method=model does what source_free did."""
    step = MSA3DBackgroundStep(save_spectrum=True)
    step.output_dir, step.output_file = str(tmp_path), "jw02136-o001_{source_id}_x.fits"
    first = step.run(source)
    (path,) = tmp_path.iterdir()
    assert path.name == "jw02136-o001_s000000933_x_sky.ecsv"
    saved = Table.read(path)
    assert saved.colnames == ["wavelength", "brightness", "uncertainty", "number"]
    lam = np.array(saved["wavelength"])
    pull = (np.array(saved["brightness"]) - SKY(lam)) / np.array(saved["uncertainty"])
    assert np.abs(pull).max() < 4
    assert saved["number"].max() > 100
    again = MSA3DBackgroundStep(method="model", spectrum=str(path)).run(source)
    for a, b in zip(first.cutouts, again.cutouts, strict=True):
        np.testing.assert_allclose(a.data, b.data, atol=1e-6)
        np.testing.assert_allclose(a.variance, b.variance, rtol=1e-5)


def test_name_of_the_spectrum_without_product(models, tmp_path):
    MSA3DBackgroundStep.call(models, save_spectrum=True, output_dir=str(tmp_path))
    assert [p.name for p in tmp_path.glob("*.ecsv")] == [
        "jw02136001001_03101_00001_nrs1_s000000933_sky.ecsv"
    ]


BAD_FILES = {
    "no such file": (None, "x.ecsv: is not there; give the file"),
    "no table": ("wavelength brightness\n1 2\n", "is no table in ECSV or FITS"),
    "other columns": ({"wavelength": [1.0, 2.0], "flux": [1.0, 2.0]}, "has the columns"),
    "other unit": ({"wavelength": [1, 2] * u.um, "brightness": [1, 2] * u.mJy}, "is not in MJy"),
    "one row": ({"wavelength": [1.0], "brightness": [1.0]}, "two rows or more"),
    "not finite": ({"wavelength": [1.0, 2.0], "brightness": [1.0, np.nan]}, "finite values"),
    "too short": (
        {"wavelength": [1.1, 2.0], "brightness": [1.0, 1.0]},
        r"00001_nrs1_cal.fits, slit 138: its wavelengths, .* are not all in .*x.ecsv",
    ),
}


@pytest.mark.parametrize("case", BAD_FILES)
def test_files_that_cannot_be_used(source, tmp_path, case):
    """One error that names the file."""
    content, message = BAD_FILES[case]
    path = tmp_path / "x.ecsv"
    if isinstance(content, str):
        path.write_text(content)
    elif content:
        QTable(content).write(path)
    with pytest.raises(InputError, match=message):
        MSA3DBackgroundStep(method="model", spectrum=str(path)).run(source)


def test_parameters_that_make_no_sense(source):
    for parameters, message in (
        ({"method": "model"}, "needs a file"),
        ({"spectrum": "sky.ecsv"}, "add --method=model"),
        ({"most_lost": 0.0}, "most_lost is 0.0"),
        ({"most_lost": float("nan")}, "must be a number"),
    ):
        with pytest.raises(InputError, match=message):
            MSA3DBackgroundStep(**parameters).run(source)
