"""The pathloss that the simulator or a real reference file states is undone, and nothing else."""

import os
import re
import subprocess
import sys

import numpy as np
import pytest
from conftest import DATA
from jwst.pathloss import pathloss as jwst_pathloss
from jwst.resample import ResampleSpecStep
from lossy import ARRAYS, NAME, assert_same, exposure, lose, loss_of, write_reference
from simulate.uniform import pixel_places
from stdatamodels.jwst import datamodels

from msa3d_steps import InputError, MSA3DPathlossStep
from msa3d_steps.pathloss.uniform import aperture_of, read_reference
from msa3d_steps.simulate.config import Survey
from msa3d_steps.simulate.references.crds import environment
from msa3d_steps.simulate.survey import write_survey

SHUTTERS = range(1, 8)
STATES = ["x", "x1", "1x", "1x1", "x11", "11x11", "111x111", "0x", "x0", "0x0", "1x0", "0x01"]


@pytest.fixture(scope="module")
def reference(tmp_path_factory):
    """The simulator's reference file."""
    return str(write_reference(tmp_path_factory.mktemp("reference") / "pathloss.fits"))


@pytest.fixture(scope="module")
def true(tmp_path_factory):
    """PRISM, 0.55 to 5.3 um, slitlets of 1 to 7 shutters."""
    return exposure(tmp_path_factory.mktemp("exposure"), SHUTTERS)


@pytest.fixture(scope="module")
def lossy(true):
    return lose(true)


@pytest.fixture(scope="module")
def corrected(lossy, reference):
    return MSA3DPathlossStep.call(lossy, override_pathloss=reference)


@pytest.fixture(scope="module")
def rectified(true):
    """The same with a flat spectrum of 1 MJy/sr, rectified by jwst."""
    flat = true.copy()
    for slit in flat.slits:
        slit.data = (slit.data * 0 + 1).astype(np.float32)
    return ResampleSpecStep().run(lose(flat))


def test_loss_on_cal(true, lossy, corrected):
    """1e-3 is asked for; it is 1.3e-5, of the linear interpolation of the reference file."""
    assert [len(slit.shutter_state) for slit in corrected.slits] == list(SHUTTERS)
    for slit in lossy.slits:
        lam = pixel_places(slit)[0][np.isfinite(slit.data)]
        assert lam.min() < 0.56
        assert lam.max() > 5.25
        assert np.ptp(loss_of(slit, lam)) > 0.4
    assert_same(corrected.slits, true.slits, rtol=5e-5)


def test_loss_on_s2d(rectified, reference):
    """Within 1e-3 at every wavelength; 3.5e-4 in pixels that light covers.

    The light of a pixel at the edge that is covered in part is not that of its middle: there it is
    1.2e-3 at most.
    """
    corrected = MSA3DPathlossStep.call(rectified, override_pathloss=reference)
    assert corrected.meta.cal_step.pathloss == "COMPLETE"
    for lossy, slit in zip(rectified.slits, corrected.slits, strict=True):
        good = np.isfinite(lossy.data)
        np.testing.assert_allclose(slit.data[good], 1, rtol=1.5e-3)
        covered = good & (lossy.wht > 0.9 * np.median(lossy.wht[good]))
        assert covered.sum() > 0.5 * good.sum()
        np.testing.assert_allclose(slit.data[covered], 1, rtol=5e-4)
        weights = np.where(good, lossy.wht, 0)
        spectrum = (weights * np.where(good, slit.data, 0)).sum(axis=0) / weights.sum(axis=0)
        np.testing.assert_allclose(spectrum, 1, rtol=1e-3)
        y, x = np.mgrid[: lossy.data.shape[0], : lossy.data.shape[1]].astype(float)
        expected = loss_of(lossy, lossy.meta.wcs(x, y)[2])
        for name, power in ARRAYS.items():
            ratio = getattr(lossy, name)[good] / getattr(slit, name)[good]
            np.testing.assert_allclose(ratio, expected[good] ** power, rtol=1e-4, err_msg=name)


def test_inverse_restores_the_data(lossy, corrected):
    """To the last digit of float32, and without a reference file, for the vector is recorded."""
    back = MSA3DPathlossStep.call(corrected, inverse=True)
    assert back.meta.cal_step.pathloss == "SKIPPED"
    assert_same(back.slits, lossy.slits, rtol=2.5e-7)
    for slit in back.slits:
        assert slit.pathloss_uniform is None
        assert slit.pathloss_correction_type is None


def test_what_is_recorded(corrected, lossy):
    assert corrected.meta.cal_step.pathloss == "COMPLETE"
    for slit, before in zip(corrected.slits, lossy.slits, strict=True):
        assert slit.pathloss_correction_type == "UNIFORM"
        np.testing.assert_allclose(
            slit.pathloss_uniform * slit.data, before.data, rtol=2e-7, equal_nan=True
        )
        loss = loss_of(slit, pixel_places(slit)[0])
        lit = np.isfinite(loss)
        np.testing.assert_allclose(slit.pathloss_uniform[lit], loss[lit], rtol=5e-5)


def test_it_is_what_jwst_does(lossy, corrected, reference):
    """Data, variances, flags and what is recorded are those of jwst's step.

    To 4e-6 with the prism, whose wavelengths are interpolated to 0.002 pixels.
    """
    theirs = lossy.copy()
    for slit in theirs.slits:
        slit.wavelength = pixel_places(slit)[0].astype(np.float32)
    with datamodels.PathlossModel(reference) as model:
        jwst_pathloss.do_correction(theirs, model, source_type="EXTENDED")
    assert_same(corrected.slits, theirs.slits, rtol=1e-5)
    for ours, slit in zip(corrected.slits, theirs.slits, strict=True):
        np.testing.assert_array_equal(ours.dq, slit.dq)
        lit = np.isfinite(slit.pathloss_uniform)
        np.testing.assert_allclose(ours.pathloss_uniform[lit], slit.pathloss_uniform[lit], 1e-5)
        assert ours.pathloss_correction_type == slit.pathloss_correction_type
    undone = MSA3DPathlossStep.call(theirs, inverse=True)
    assert_same(undone.slits, lossy.slits, rtol=2.5e-7)


def test_slits_that_jwst_leaves_out(true, lossy, reference):
    """jwst corrects no slit whose source lies off the shutters by the catalogue; this step does."""
    theirs = lossy.copy()
    for slit in theirs.slits:
        slit.wavelength = pixel_places(slit)[0].astype(np.float32)
    theirs.slits[1].source_xpos = 1e4
    with datamodels.PathlossModel(reference) as model:
        jwst_pathloss.do_correction(theirs, model, source_type="EXTENDED")
    theirs.meta.calibration_software_version = "3.0.0"
    assert theirs.meta.cal_step.pathloss == "COMPLETE"
    assert theirs.slits[1].pathloss_correction_type is None
    np.testing.assert_array_equal(theirs.slits[1].data, lossy.slits[1].data)
    corrected = MSA3DPathlossStep.call(theirs, override_pathloss=reference, sources=["2"])
    assert_same(corrected.slits, true.slits, rtol=5e-5)


@pytest.mark.parametrize("state", STATES)
def test_aperture_and_interpolation_are_those_of_jwst(reference, state):
    loss = read_reference(reference)
    lam = np.linspace(0.4, 5.8, 5000)
    with datamodels.PathlossModel(reference) as model:
        if len(state) == 2:
            vector = jwst_pathloss.calculate_two_shutter_uniform_pathloss(model)
        else:
            aperture = jwst_pathloss.get_aperture_from_model(model, state)
            assert aperture_of(state) == aperture.shutters
            vector = jwst_pathloss.calculate_pathloss_vector(
                aperture.uniform_data, aperture.uniform_wcs, 0, 0
            )[:2]
        theirs = jwst_pathloss.interpolate_onto_grid(lam[None], vector[0] * 1e6, vector[1])[0]
    assert 0 < np.isnan(theirs).sum() < 500
    np.testing.assert_allclose(loss(lam, state), theirs, rtol=1e-6)


@pytest.fixture(scope="module")
def real_reference():
    path = DATA / "jwst_nirspec_pathloss_0002.fits"
    if not path.exists():
        pytest.skip("the real reference file (../shared/data) is not on this machine")
    return path


def test_factors_are_the_vectors_of_the_real_reference(real_reference):
    loss = read_reference(real_reference)
    with datamodels.PathlossModel(real_reference) as model:
        one, three = (aperture.uniform_data for aperture in model.apertures)
    lam = 0.6 + 0.235 * np.arange(21)
    for state, vector in (("x", one), ("1x1", three), ("x1", (one + three) / 2)):
        np.testing.assert_allclose(loss(lam, state), vector, rtol=1e-6)
        between = loss((lam[1:] + lam[:-1]) / 2, state)
        np.testing.assert_allclose(between, (vector[1:] + vector[:-1]) / 2, rtol=1e-6)
        assert np.isnan(loss([0.59, 5.31, np.nan], state)).all()
        assert loss.range_of(state) == pytest.approx((0.6, 5.3))


def test_real_exposure(real_reference, real_models):
    with datamodels.PathlossModel(real_reference) as model:
        vector = model.apertures[1].uniform_data
    for model in real_models:
        before = model.copy()
        with pytest.raises(InputError, match="its pathloss is corrected already"):
            MSA3DPathlossStep.call(before, override_pathloss=str(real_reference))
        before.pathloss_uniform = None  # they record another vector, by jwst 1.14
        after = MSA3DPathlossStep.call(before, override_pathloss=str(real_reference))
        lam, _ = pixel_places(before)
        used = np.isfinite(before.data) & (before.dq & 1 == 0)
        assert used.sum() > 4000
        expected = before.data / np.interp(lam, 0.6 + 0.235 * np.arange(21), vector)
        np.testing.assert_allclose(after.data[used], expected[used], rtol=1e-5)


def test_wavelengths_that_the_reference_does_not_have(true, reference, tmp_path, caplog):
    """They are left out, as in jwst, and it is said; a slit that has none else is refused."""
    with datamodels.PathlossModel(reference) as model:
        for aperture in model.apertures:
            aperture.uniform_data = aperture.uniform_data[:251]  # 0.5 to 3 um
        model.save(tmp_path / "short.fits")
        for aperture in model.apertures:
            aperture.uniform_wcs.crval1 = 10e-6
        model.save(tmp_path / "elsewhere.fits")
    one = datamodels.MultiSlitModel()
    one.update(true)
    one.slits.append(true.slits[2])
    after = MSA3DPathlossStep.call(one, override_pathloss=str(tmp_path / "short.fits"))
    lam, y_slit = pixel_places(true.slits[2])
    used = np.isfinite(true.slits[2].data) & (np.abs(lam - 3) > 1e-4)
    np.testing.assert_array_equal(np.isfinite(after.slits[0].data)[used], lam[used] < 3)
    np.testing.assert_array_equal(after.slits[0].dq[used] & 1, lam[used] > 3)
    lost = used & (lam > 3) & (np.abs(y_slit) < 0.5 + true.slits[2].slit_yscale)
    (said,) = [r.getMessage() for r in caplog.records if "left out" in r.getMessage()]
    assert said.startswith(f"{NAME}, slit 3: ")
    number = int(re.search(r"(\d+) pixels lie outside", said)[1])
    assert number == pytest.approx(lost.sum(), rel=0.01)
    assert "(0.5 to 3 um)" in said
    with pytest.raises(InputError, match=f"{NAME}, slit 3: .*none of its wavelengths is in the"):
        MSA3DPathlossStep.call(one, override_pathloss=str(tmp_path / "elsewhere.fits"))


@pytest.mark.skipif(not os.environ.get("MSA3D_LONG"), reason="set MSA3D_LONG=1: it takes long")
def test_calwebb_spec2_without_pathloss_and_then_the_step(tmp_path):
    """The same data as with jwst's own step: from the file, and as a hook after photom."""
    survey = Survey(level="rate", n_sources=2, steps=1, dithers=1, noise=False)
    write_survey(survey, tmp_path)
    rate = "jw09999001001_03101_00001_nrs1_rate.fits"
    script = f"""
from msa3d_steps import MSA3DPathlossStep, MSA3DSpec2Pipeline
def calibrate(folder, **steps):
    off = {{name: {{"skip": True}} for name in ("resample_spec", "extract_1d")}}
    MSA3DSpec2Pipeline.call("{rate}", save_results=True, output_dir=folder, steps=off | steps)
calibrate("theirs")
calibrate("without", pathloss={{"skip": True}})
calibrate("hook", pathloss={{"skip": True}}, photom={{"post_hooks": [MSA3DPathlossStep]}})
cal = "without/{rate.replace("_rate", "_cal")}"
MSA3DPathlossStep.call(cal, output_dir="ours", save_results=True)
"""
    variables = {"PATH": os.environ["PATH"], "HOME": str(tmp_path)}
    variables |= environment(tmp_path / "crds")
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, env=variables, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-4000:]
    cal, stem = rate.replace("_rate", "_cal"), rate.replace("_rate.fits", "")
    paths = [f"theirs/{cal}", f"hook/{cal}", f"without/{cal}", f"ours/{stem}_pathloss.fits"]
    theirs, hook, without, ours = (datamodels.open(tmp_path / path) for path in paths)
    assert [len(slit.shutter_state) for slit in theirs.slits] == [5, 5]
    for model in (hook, ours):
        assert model.meta.cal_step.pathloss == "COMPLETE"
        assert model.meta.ref_file.pathloss.name == theirs.meta.ref_file.pathloss.name
        assert_same(model.slits, theirs.slits, rtol=1e-6)
        for slit, other in zip(model.slits, theirs.slits, strict=True):
            np.testing.assert_array_equal(slit.dq, other.dq)
    assert without.meta.cal_step.pathloss == "SKIPPED"
    for slit, before in zip(ours.slits, without.slits, strict=True):
        assert np.nanmax(np.abs(before.data / slit.data - 1)) > 0.1
