"""The step as people call it: forms of input, refusals, reference files, command line."""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from astropy.modeling.models import Mapping, Polynomial1D
from conftest import write_association
from gwcs import WCS
from jwst.datamodels import ModelContainer, ModelLibrary, SourceModelContainer
from jwst.srctype import SourceTypeStep
from lossy import loss_of, write_reference
from scene import as_model, source_of
from stdatamodels.jwst import datamodels
from stdatamodels.jwst.datamodels import MultiExposureModel, MultiSlitModel
from stpipe import crds_client

from msa3d_steps import IncompleteError, InputError, MSA3DPathlossStep
from msa3d_steps.pathloss import uniform
from msa3d_steps.pathloss.uniform import needs_pathloss, read_reference
from msa3d_steps.simulate.references.crds import environment, write_cache

STRUN = str(Path(sys.executable).with_name("strun"))
DONE = "its pathloss is corrected already; use it as it is, or undo it with --inverse=true"


pytestmark = pytest.mark.usefixtures("folder")


@pytest.fixture(scope="module")
def reference(tmp_path_factory):
    return str(write_reference(tmp_path_factory.mktemp("reference") / "pathloss.fits"))


@pytest.fixture
def slits(small_survey):
    """Three exposures of a slitlet of three shutters, with the pathloss in them."""
    models = [as_model(slit) for slit in small_survey[:3]]
    for model in models:
        model.shutter_state = "1x1"
        model.meta.cal_step.pathloss = "SKIPPED"
        loss = loss_of(model, wavelengths(model))
        for name, power in (("data", 1), ("err", 1), ("var_poisson", 2), ("var_rnoise", 2)):
            setattr(model, name, getattr(model, name) * loss.astype(np.float32) ** power)
    return models


def wavelengths(slit):
    y, x = np.mgrid[: slit.data.shape[0], : slit.data.shape[1]].astype(float)
    return slit.meta.wcs(x, y)[2]


def multislit(*slits):
    """One exposure with several slits."""
    model = MultiSlitModel()
    model.update(slits[0])
    for slit in slits:
        model.slits.append(slit)
    return model


def other(slit, source_id, name=None):
    """The same slit of another source."""
    slit = slit.copy()
    slit.source_id, slit.source_name = source_id, f"1345_{source_id}"
    slit.name = name or str(source_id)
    return slit


def multi_exposure(slits):
    model = MultiExposureModel()
    for slit in slits:
        model.exposures.append(slit)
    return model


def correct(inputs, **options):
    return MSA3DPathlossStep.call(inputs, **options)


def assert_corrected(slit, truth):
    """Data, error and variances are those that lost no light, and it is said so."""
    for name in ("data", "err", "var_poisson", "var_rnoise"):
        np.testing.assert_allclose(getattr(slit, name), getattr(truth, name), rtol=1e-4)
    assert slit.pathloss_correction_type == "UNIFORM"


FORMS = {
    "SlitModels": lambda s: s,
    "MultiSlitModel": lambda s: multislit(*s),
    "ModelContainer": ModelContainer,
    "ModelLibrary": ModelLibrary,
    "MultiExposureModel": multi_exposure,
    "SourceModelContainer": lambda s: SourceModelContainer(multi_exposure(s)),
}


def slits_in(model):
    if isinstance(model, ModelLibrary):
        with model:
            models = [model.borrow(i) for i in range(len(model))]
            for i in range(len(model)):
                model.shelve(models[i], i, modify=False)
        return models
    if isinstance(model, MultiSlitModel):
        return list(model.slits)
    return list(model.exposures) if isinstance(model, MultiExposureModel) else list(model)


@pytest.mark.parametrize("form", FORMS)
def test_forms(form, slits, small_survey, reference):
    """Each form comes back corrected; a second time it is refused, and the inverse undoes it."""
    before = [slit.data.copy() for slit in slits]
    corrected = correct(FORMS[form](slits), override_pathloss=reference)
    found = slits_in(corrected)
    assert len(found) == 3
    for slit, truth in zip(found, small_survey, strict=False):
        assert_corrected(slit, truth)
    if form != "ModelLibrary":  # a library is handed from step to step
        for slit, data in zip(slits, before, strict=True):
            np.testing.assert_array_equal(slit.data, data)
    with pytest.raises(InputError, match=f"^{slits[0].meta.filename}, slit 138: {DONE}$"):
        correct(corrected, override_pathloss=reference)
    again = slits_in(correct(corrected, inverse=True))
    for slit, data in zip(again, before, strict=True):
        np.testing.assert_allclose(slit.data, data, rtol=2.5e-7)
        assert slit.pathloss_correction_type is None


def test_source_of_a_pipeline(slits, small_survey, reference):
    """Plain cutouts: corrected, told by `needs_pathloss`, refused a second time, undone."""
    source = source_of(slits)
    assert needs_pathloss(source)
    step = MSA3DPathlossStep(override_pathloss=reference)
    assert step.is_needed(source)
    corrected = step.run(source)
    assert not needs_pathloss(corrected)
    assert not step.is_needed(corrected)
    assert needs_pathloss(source)
    for cutout, header, truth in zip(
        corrected.cutouts, corrected.headers, small_survey, strict=False
    ):
        used = np.isfinite(cutout.data)
        assert used.sum() > 1000
        np.testing.assert_allclose(cutout.data[used], truth.data[used], rtol=1e-4)
        np.testing.assert_allclose(cutout.variance[used], truth.err[used] ** 2, rtol=1e-4)
        np.testing.assert_allclose(cutout.read_variance[used], truth.var_rnoise[used], rtol=1e-4)
        assert (cutout.pathloss, header["meta.cal_step.pathloss"]) == ("UNIFORM", "COMPLETE")
    with pytest.raises(InputError, match=DONE):
        step.run(corrected)
    inverse = MSA3DPathlossStep(override_pathloss=reference, inverse=True)
    assert not inverse.is_needed(source)
    assert inverse.is_needed(corrected)
    back = inverse.run(corrected)
    assert needs_pathloss(back)
    for cutout, header, given in zip(back.cutouts, back.headers, source.cutouts, strict=True):
        np.testing.assert_allclose(cutout.data, given.data, rtol=2.5e-7)
        assert header["meta.cal_step.pathloss"] == "SKIPPED"


# --- what is corrected already


def test_only_what_is_not_corrected_yet(slits, small_survey, reference, caplog):
    first = correct(slits[0], override_pathloss=reference)
    data = first.data.copy()
    mixed = [first, *slits[1:]]
    assert needs_pathloss(source_of(mixed))
    corrected = correct(mixed, override_pathloss=reference)
    np.testing.assert_array_equal(corrected[0].data, data)
    for slit, truth in zip(corrected, small_survey, strict=False):
        assert_corrected(slit, truth)
    said = "s000000933: pathloss of a uniform source corrected in 2 of 3 cutouts; the others were "
    assert f"{said}corrected already" in caplog.messages


def test_a_source_that_is_corrected_does_not_stop_the_others(slits, small_survey, reference):
    done = other(correct(slits[0], override_pathloss=reference), 7)
    with pytest.raises(IncompleteError, match=f"slit 7: source s000000007: {DONE}") as raised:
        correct(multislit(done, slits[0]), override_pathloss=reference)
    model = raised.value.result
    np.testing.assert_array_equal(model.slits[0].data, done.data)
    assert_corrected(model.slits[1], small_survey[0])


def test_point_sources(slits, small_survey, reference, caplog):
    """What was corrected as a point source is left, and cannot be undone here."""
    slits[0].pathloss_correction_type = "POINT"
    for inverse in (False, True):
        with pytest.raises(InputError, match="cannot be undone with the vector of a uniform sour"):
            correct(slits[0], override_pathloss=reference, inverse=inverse)
    data = slits[0].data.copy()
    corrected = correct(slits, override_pathloss=reference)
    np.testing.assert_array_equal(corrected[0].data, data)
    assert_corrected(corrected[1], small_survey[1])
    assert any("1 cutouts of source s000000933 are corrected as a point source" in m
               for m in caplog.messages)  # fmt: skip


def test_nothing_to_undo(slits, reference):
    with pytest.raises(InputError, match="slit 138: its pathloss is not corrected; leave out --in"):
        correct(slits, override_pathloss=reference, inverse=True)


def test_status_stays_while_a_slit_is_corrected(slits, reference):
    """The inverse for one source of an exposure, and then for the other."""
    model = correct(multislit(slits[0], other(slits[0], 7)), override_pathloss=reference)
    one = correct(model, inverse=True, sources=["7"])
    assert one.meta.cal_step.pathloss == "COMPLETE"
    assert [s.pathloss_correction_type for s in one.slits] == ["UNIFORM", None]
    both = correct(one, inverse=True, sources=["933"])
    assert both.meta.cal_step.pathloss == "SKIPPED"


def rectify(slit):
    """A slit on a rectified grid, with the WCS alone of one."""
    ra, dec = Polynomial1D(1, c0=150.1, c1=1.5e-5), Polynomial1D(1, c0=2.2, c1=2.5e-5)
    lam = Polynomial1D(1, c0=1.0, c1=2.4e-3)
    slit = slit.copy()
    slit.meta.wcs = WCS(Mapping((1, 1, 0), n_inputs=2) | ra & dec & lam, "detector", "world")
    return slit


def test_rectified_data_that_do_not_say(slits, reference):
    """Of an s2d the exposure counts where the slit says nothing: corrected as extended sources."""
    slit = rectify(slits[0])
    slit.meta.cal_step.pathloss = "COMPLETE"
    assert not needs_pathloss(source_of([slit]))
    with pytest.raises(InputError, match=DONE):
        correct(slit, override_pathloss=reference)
    back = correct(slit, override_pathloss=reference, inverse=True)
    assert back.meta.cal_step.pathloss == "SKIPPED"
    loss = loss_of(slit, 1.0 + 2.4e-3 * np.arange(slit.data.shape[1]))
    np.testing.assert_allclose(back.data, slit.data * loss, rtol=1e-4)
    again = correct(back, override_pathloss=reference)
    np.testing.assert_allclose(again.data, slit.data, rtol=3e-7)


@pytest.mark.parametrize(("version", "corrected"), [
    ("1.17.1", True), ("1.18.0", False), ("3.0.0", False), (None, True), ("dev", True),
])  # fmt: skip
def test_slits_that_jwst_made_before_they_said_so(slits, reference, version, corrected):
    """Before 1.18 the exposure counts; since then jwst left out a slit that says nothing."""
    slit = slits[0]
    slit.meta.cal_step.pathloss = "COMPLETE"
    slit.meta.calibration_software_version = version
    assert needs_pathloss(source_of([slit])) != corrected
    if corrected:
        with pytest.raises(InputError, match=DONE):
            correct(slit, override_pathloss=reference)
    else:
        correct(slit, override_pathloss=reference)


def test_a_recorded_vector_says_enough(slits, reference):
    """Of an old exposure that another step of today has stamped with its version."""
    slit = correct(slits[0], override_pathloss=reference)
    slit.pathloss_correction_type = None
    slit.meta.calibration_software_version = "3.0.0"
    with pytest.raises(InputError, match=DONE):
        correct(slit, override_pathloss=reference)
    back = correct(slit, inverse=True)
    np.testing.assert_allclose(back.data, slits[0].data, rtol=2.5e-7)


# --- slitlets


def test_shutters_that_the_file_does_not_tell(slits, reference):
    lossy = slits[0]
    lossy.shutter_state = None
    with pytest.raises(InputError, match=r"slit 138: .*its shutters are not known .*--shutters$"):
        correct(lossy, override_pathloss=reference)
    lam = wavelengths(lossy)
    loss = read_reference(reference)
    for number, state in ((1, "x"), (2, "x1"), (3, "1x1"), (7, "111x111")):
        slit = correct(lossy, override_pathloss=reference, shutters=number)
        used = np.isfinite(lossy.data)
        expected = (lossy.data / loss(lam, state))[used]
        np.testing.assert_allclose(slit.data[used], expected, rtol=1e-5)
    lossy.shutter_state = "x"
    slit = correct(lossy, override_pathloss=reference, shutters=3)
    np.testing.assert_allclose(slit.data[used], (lossy.data / loss(lam, "x"))[used], rtol=1e-5)


def test_fixed_slits_are_left(slits, reference):
    slits[0].name, slits[0].shutter_state = "S200A1", "x"
    with pytest.raises(InputError, match=r"slit S200A1: .*is a fixed slit"):
        correct(slits[0], override_pathloss=reference)


# --- reference files


def test_reference_is_read_once(slits, reference, tmp_path, monkeypatch):
    """For all sources of a run, and of the next; again when it changed."""
    opened = []
    original = uniform.PathlossModel

    def count(path):
        opened.append(path)
        return original(path)

    monkeypatch.setattr(uniform, "PathlossModel", count)
    path = tmp_path / "own.fits"
    path.write_bytes(Path(reference).read_bytes())
    model = multislit(slits[0], other(slits[0], 7), other(slits[0], 8))
    for _ in range(2):
        correct(model, override_pathloss=str(path))
    assert len(opened) == 1
    os.utime(path, ns=(1, 1))
    correct(model, override_pathloss=str(path))
    assert len(opened) == 2


def test_reference_as_a_model(slits, small_survey, reference):
    with datamodels.PathlossModel(reference) as model:
        assert_corrected(correct(slits[0], override_pathloss=model), small_survey[0])


def test_reference_is_named_in_the_product(slits, reference):
    slit = correct(slits[0], override_pathloss=reference)
    assert slit.meta.ref_file.pathloss.name == reference
    assert slit.meta.ref_file.crds.context_used is None


def bad_references(slits, folder):
    """Files that are none, and what is said of them."""
    (folder / "text.fits").write_text("no reference")
    slits[0].save(folder / "x_cal.fits")
    datamodels.PathlossModel().save(folder / "empty.fits")
    return {
        "missing.fits": "there is no such file|No such file",
        "text.fits": "is no pathloss reference for the MSA",
        "x_cal.fits": "is no pathloss reference for the MSA",
        "empty.fits": "is no pathloss reference for the MSA",
    }


@pytest.mark.filterwarnings("ignore::stdatamodels.exceptions.ValidationWarning")
def test_bad_references(slits, reference, folder):
    """One error, whatever the number of sources; nothing is written."""
    model = multislit(slits[0], other(slits[0], 7))
    for name, said in bad_references(slits, folder).items():
        with pytest.raises(InputError, match=said) as raised:
            correct(model, override_pathloss=str(folder / name), save_results=True)
        assert raised.value.problem.file == str(folder / name)
        assert "--override_pathloss" in str(raised.value)
    for name in ("N/A", ""):
        with pytest.raises(InputError, match="there is no pathloss reference for these data; give"):
            correct(model, override_pathloss=name)
    assert not list(folder.glob("*_pathloss.fits"))


def strun(*arguments, **variables):
    """Run strun in an environment without anything of CRDS but what is given."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith("CRDS")}
    done = subprocess.run(
        [STRUN, *map(str, arguments)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        env=clean | variables, check=False,
    )  # fmt: skip
    return done.returncode, " ".join(done.stdout.split())


def test_crds(slits, small_survey, reference, folder):
    """CRDS gives the file."""
    multislit(slits[0], other(slits[0], 7)).save("x_cal.fits")
    write_cache(folder / "crds", {"pathloss": Path(reference)}, "G140M", "F100LP")
    found = environment(folder / "crds")
    status, said = strun("msa3d_pathloss", "x_cal.fits", "--save_results=true", **found)
    assert status == 0, said
    with datamodels.open("x_pathloss.fits") as model:
        assert_corrected(model.slits[0], small_survey[0])
        assert model.meta.ref_file.pathloss.name.startswith("crds://jwst_nirspec_pathloss")
        assert model.meta.ref_file.crds.context_used == "jwst_0001.pmap"


def test_crds_is_asked_with_the_metadata_of_the_exposure(slits, monkeypatch):
    """Once for all cutouts of a day; that it has no file is said, and that it does not answer."""
    asked = []

    def answer(parameters, reftype, observatory):
        asked.append((parameters, reftype, observatory))
        return "N/A"

    monkeypatch.setattr(crds_client, "get_reference_file", answer)
    with pytest.raises(InputError, match="there is no pathloss reference for these data; give one"):
        correct(multislit(slits[0], other(slits[0], 7)))
    ((parameters, reftype, observatory),) = asked
    assert (reftype, observatory) == ("pathloss", "jwst")
    assert parameters["meta.instrument.name"] == "NIRSPEC"
    assert parameters["meta.exposure.type"] == "NRS_MSASPEC"
    assert parameters["meta.observation.date"] == "2023-04-01"

    def exit_(*_):
        sys.exit(-1)  # as crds does without a server or a cache

    monkeypatch.setattr(crds_client, "get_reference_file", exit_)
    with pytest.raises(InputError, match=r"CRDS does not answer: set CRDS_PATH .*FILE$"):
        correct(multislit(slits[0], other(slits[0], 7)))


# --- command line, association, hook


def test_command_line(slits, small_survey, reference, folder):
    """Without CRDS; an association of cal files, then the files that it gave; inputs stay."""
    for number, slit in enumerate(slits, 1):
        slit.save(f"x{number}_cal.fits")
    asn = write_association(folder, [f"x{number}_cal.fits" for number in (1, 2, 3)])
    before = sums(folder, "*_cal.fits")
    status, said = strun(
        "msa3d_pathloss", asn, f"--override_pathloss={reference}", "--save_results=true",
        "--output_dir=out",
    )  # fmt: skip
    assert status == 0, said
    assert sorted(p.name for p in Path("out").iterdir()) == [
        f"x{number}_pathloss.fits" for number in (1, 2, 3)
    ]
    for number, truth in enumerate(small_survey[:3], 1):
        with fits.open(f"out/x{number}_pathloss.fits") as hdus:
            assert hdus[0].header["S_PTHLOS"] == "COMPLETE"
            assert hdus["SCI"].header["PTHLOSS"] == "UNIFORM"
            assert "PATHLOSS_UN" in hdus
            np.testing.assert_allclose(hdus["SCI"].data, truth.data, rtol=1e-4)
    with pytest.raises(InputError, match=f"^x1_pathloss.fits, slit 138: {DONE}$"):
        correct("out/x1_pathloss.fits", save_results=True)
    correct("out/x1_pathloss.fits", inverse=True, suffix="back", save_results=True)
    with fits.open("x1_back.fits") as hdus:
        assert hdus[0].header["S_PTHLOS"] == "SKIPPED"
        assert "PTHLOSS" not in hdus["SCI"].header
        assert "PATHLOSS_UN" not in hdus
        np.testing.assert_allclose(hdus["SCI"].data, slits[0].data, rtol=2.5e-7)
    assert sums(folder, "*_cal.fits") == before


def test_names_of_products(slits, reference, folder):
    """What is asked for; never that of an input."""
    slits[0].save("x_cal.fits")
    correct("x_cal.fits", override_pathloss=reference, output_file="y.fits")
    before = sums(folder, "*.fits")
    assert set(before) == {"x_cal.fits", "y_pathloss.fits"}
    for options in ({"suffix": "pathloss"}, {"output_file": "y_pathloss.fits"}):
        with pytest.raises(InputError, match="would be replaced by its own product"):
            correct("y_pathloss.fits", inverse=True, save_results=True, **options)
    with pytest.raises(InputError, match="would be replaced by its own product"):
        correct(["x_cal.fits"], override_pathloss=reference, suffix="cal", save_results=True)
    assert sums(folder, "*.fits") == before


def sums(folder, pattern):
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in folder.glob(pattern)}


def test_hook(slits, small_survey, reference, monkeypatch):
    """What it hangs on goes on with the corrected data."""
    monkeypatch.setenv("STPIPE_DISABLE_CRDS_STEPPARS", "true")
    hook = MSA3DPathlossStep(override_pathloss=reference)
    slits[0].stellarity = 0.0
    result = SourceTypeStep.call(multislit(slits[0]), post_hooks=[hook])
    assert result.meta.cal_step.pathloss == "COMPLETE"
    assert_corrected(result.slits[0], small_survey[0])
