"""`msa3d_outlier` as a step: files, models, plain cutouts, hooks, command line."""

import hashlib
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from commands import strun_here
from conftest import write_association
from jwst.datamodels import ModelContainer, ModelLibrary, SourceModelContainer
from jwst.exp_to_source import multislit_to_container
from jwst.srctype import SourceTypeStep
from scene import as_model, source_of
from stdatamodels.jwst import datamodels
from stdatamodels.jwst.datamodels.dqflags import pixel as dqflags
from stpipe import Step

from msa3d_steps import IncompleteError, InputError, MSA3DCubeStep, MSA3DOutlierStep
from msa3d_steps.cube.inputs import Selection, collect_sources, find_members
from msa3d_steps.outlier.lacosmic import LacosmicOptions, find_outliers_alone
from msa3d_steps.outlier.stack import StackOptions, find_outliers

FLAGS = dqflags["OUTLIER"] | dqflags["DO_NOT_USE"]
HITS = ((8, 20), (17, 40), (15, 77))  # row and column, in each exposure
ROOT = Path(__file__).parents[2]


pytestmark = pytest.mark.usefixtures("folder")


@pytest.fixture
def models(small_survey):
    """Two steps x three dithers of a compact source, with hits at known pixels."""
    return [spoilt(slit, number) for number, slit in enumerate(small_survey)]


def spoilt(slit, number):
    """A slit with noise and hits, which are elsewhere in each exposure."""
    random = np.random.default_rng(number)
    model = as_model(slit)
    model.data = model.data + (0.01 * random.standard_normal(model.data.shape)).astype(np.float32)
    for row, column in hits_of(number):
        model.data[row, column] += 5.0
    return model


def hits_of(number):
    return [(row + number % 2, column + 2 * number) for row, column in HITS]


@pytest.fixture
def files(models, folder):
    """The same as files with an association: its path."""
    data = folder / "input"
    data.mkdir()
    for model in models:
        model.save(str(data / model.meta.filename))
    return write_association(data, [model.meta.filename for model in models])


def multi(model):
    result = datamodels.MultiSlitModel()
    result.update(model)
    result.slits.append(model)
    return result


def assert_flagged(slits, models, masks):
    """DQ has the flags exactly where the masks are; nothing else has changed, bit for bit."""
    assert len(slits) == len(masks)
    for slit, model, mask in zip(slits, models, masks, strict=True):
        np.testing.assert_array_equal(slit.dq, model.dq | np.where(mask, np.uint32(FLAGS), 0))
        assert slit.dq.dtype == np.uint32
        for name in ("data", "err", "var_poisson", "var_rnoise"):
            before, after = (np.asarray(getattr(m, name), "f4") for m in (model, slit))
            assert before.tobytes() == after.tobytes()


@pytest.fixture
def masks(models):
    """What the comparison finds: the hits, and hardly more."""
    found = find_outliers(source_of(models), StackOptions()).masks
    for number, mask in enumerate(found):
        assert all(mask[pixel] for pixel in hits_of(number))
        assert mask.sum() < 20  # of 1,800
    return found


FORMS = {
    "list of models": lambda m, p: m,
    "ModelContainer": lambda m, p: ModelContainer(m),
    "ModelLibrary": lambda m, p: ModelLibrary([model.copy() for model in m]),
    "association": lambda m, p: p,
    "paths": lambda m, p: sorted(p.parent.glob("*.fits")),
    "MultiSlitModels": lambda m, p: [multi(x) for x in m],
    "containers of Spec3": lambda m, p: multislit_to_container([multi(x) for x in m])["1345_933"],
}


def slits_in(result):
    if isinstance(result, ModelLibrary):
        with result:
            models = [result.borrow(i) for i in range(len(result))]
            for i, model in enumerate(models):
                result.shelve(model, i, modify=False)
        return models
    if isinstance(result, SourceModelContainer):
        return list(result)
    return [slit for m in result for slit in getattr(m, "slits", [m])]


@pytest.mark.parametrize("form", FORMS)
def test_forms(form, models, files, masks):
    inputs = FORMS[form](models, files)
    before = [(m.data.tobytes(), m.dq.tobytes()) for m in models]
    result = MSA3DOutlierStep.call(inputs)
    assert_flagged(slits_in(result), models, masks)
    assert [(m.data.tobytes(), m.dq.tobytes()) for m in models] == before
    if not isinstance(result, (ModelLibrary, SourceModelContainer)):
        assert {m.meta.cal_step.outlier_detection for m in result} == {"COMPLETE"}


def checksums(folder):
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in folder.iterdir()}


def test_command(models, files, masks, folder, capsys):
    """An association gives ..._crf.fits, and its inputs stay as they are."""
    before = checksums(files.parent)
    assert strun_here("msa3d_outlier", files, "--save_results=true", "--output_dir=out") == 0
    said = capsys.readouterr()
    assert "s000000933: " in said.out + said.err
    assert checksums(files.parent) == before
    written = sorted(Path("out").iterdir())
    assert [p.name for p in written] == [
        model.meta.filename.replace("_cal", "_crf") for model in models
    ]
    for path, model, mask in zip(written, models, masks, strict=True):
        with fits.open(path) as hdus:
            assert hdus[0].header["S_OUTLIR"] == "COMPLETE"
            np.testing.assert_array_equal(hdus["DQ"].data & FLAGS == FLAGS, mask)
            assert hdus["SCI"].data.astype("f4").tobytes() == model.data.tobytes()
    collection = collect_sources(find_members([str(p) for p in written]), Selection())
    for cutout, mask in zip(collection.sources[0].cutouts, masks, strict=True):
        assert np.isnan(cutout.data[mask]).all()


def test_source_of_a_pipeline(models, masks):
    """Outliers are NaN, are counted, and the cube's table of exposures says how many."""
    source = source_of(models)
    result = MSA3DOutlierStep().run(source)
    counts = [int(mask.sum()) for mask in masks]
    assert min(counts) >= len(HITS)
    assert [c.outliers for c in source.cutouts] == [-1] * len(models)
    assert [c.outliers for c in result.cutouts] == counts
    for before, after, header, mask in zip(
        source.cutouts, result.cutouts, result.headers, masks, strict=True
    ):
        assert after.rejected - before.rejected == mask.sum()
        np.testing.assert_array_equal(after.data, np.where(mask, np.nan, before.data))
        np.testing.assert_array_equal(after.variance, before.variance)
        assert header["meta.cal_step.outlier_detection"] == "COMPLETE"
    (cube,) = MSA3DCubeStep().run(result)
    assert list(cube.exposure_table["outliers"]) == counts


def test_saved_outliers(files, masks):
    """Masks and expectations in a file of each source, whole."""
    MSA3DOutlierStep.call(files, save_outliers=True, output_dir="out")
    (path,) = Path("out").iterdir()
    assert path.name == "jw02136-o001_s000000933_nirspec_f100lp-g140m_outliers.fits"
    with fits.open(path) as hdus:
        assert hdus[0].header["SOURCE"] == "s000000933"
        for number, mask in enumerate(masks, 1):
            found, expected = hdus["OUTLIERS", number], hdus["EXPECTED", number]
            np.testing.assert_array_equal(found.data > 0, mask)
            assert found.header["NOUTLIER"] == mask.sum()
            assert found.header["EXPFILE"].endswith(f"{number:05d}_nrs1_cal.fits")
            assert expected.header["BUNIT"] == "MJy/sr"
            assert np.isfinite(expected.data[mask]).all()


def test_outliers_that_cannot_be_saved(files, monkeypatch):
    """A full disk leaves no torn file."""
    write = fits.HDUList.writeto

    def fill_up(hdus, path, *args, **kwargs):
        Path(path).write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(fits.HDUList, "writeto", fill_up)
    with pytest.raises(IncompleteError, match=r"_outliers.fits: .*No space left") as e:
        MSA3DOutlierStep.call(files, save_outliers=True, output_dir="out")
    assert len(e.value.result) == 6
    monkeypatch.setattr(fits.HDUList, "writeto", write)
    assert not list(Path("out").iterdir())


@pytest.mark.parametrize("method", ["lacosmic", "both"])
def test_methods(models, method):
    """L.A.Cosmic with the parameters of the step; both are what either finds."""
    faint = 17, 60
    models[0].data[faint] += 0.08
    masks = find_outliers(source_of(models), StackOptions()).masks
    options = LacosmicOptions(20.0, 0.5, 4.0, 2)
    alone = [find_outliers_alone(c, options) for c in source_of(models).cutouts]
    assert sum(m.sum() for m in alone) > 0
    assert masks[0][faint]
    assert not alone[0][faint]
    wanted = alone if method == "lacosmic" else [a | b for a, b in zip(alone, masks, strict=True)]
    result = MSA3DOutlierStep.call(
        models, method=method, sigclip=20.0, sigfrac=0.5, objlim=4.0, niter=2
    )
    assert_flagged(list(result), models, wanted)


def test_published_settings(models):
    """The parameter reference of the published reduction does what its settings do."""
    path = ROOT / "parameter_refs" / "msa3d_outlier_go2136.asdf"
    step = Step.from_config_file(str(path))
    step.save_results = False
    result = step.run(ModelContainer([m.copy() for m in models]))
    published = LacosmicOptions.published()
    wanted = [find_outliers_alone(c, published) for c in source_of(models).cutouts]
    usual = [find_outliers_alone(c, LacosmicOptions()) for c in source_of(models).cutouts]
    assert any((a != b).any() for a, b in zip(wanted, usual, strict=True))
    assert_flagged(list(result), models, wanted)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"snr_near": 5.0}, r"^snr_near is 5.0; it must be above 0, at most snr, 4.5$"),
        ({"snr_near": 0.0}, "snr_near is 0.0"),
        ({"snr": 2.0}, "at most snr, 2.0"),
        ({"maximum_cores": "many"}, "maximum_cores is many"),
    ],
)
def test_parameters_that_make_no_sense(models, folder, parameters, message):
    """One error, before anything is done; no file is written."""
    with pytest.raises(InputError, match=message) as caught:
        MSA3DOutlierStep.call(models, save_results=True, **parameters)
    assert len(str(caught.value).splitlines()) == 1
    assert not list(folder.iterdir())


def test_parameters_reach_the_comparison(models, masks):
    """A limit above the hits finds none; a large misregistration finds fewer."""
    result = MSA3DOutlierStep.call(models, snr=1e5, snr_near=1e5)
    assert_flagged(list(result), models, [np.zeros_like(mask) for mask in masks])
    assert {m.meta.cal_step.outlier_detection for m in result} == {"COMPLETE"}


def test_a_step_with_one_exposure(models, caplog):
    """The warning names the step and the mend."""
    result = MSA3DOutlierStep.call(models[:4], configure_log=False)
    (warning,) = (r.message for r in caplog.records if "--method=both" in r.message)
    assert warning.startswith("s000000933: outliers of 1 step (2) cannot be found by comparison")
    assert not (result[3].dq & dqflags["OUTLIER"]).any()
    assert all((m.dq & dqflags["OUTLIER"]).any() for m in result[:3])


@pytest.mark.filterwarnings("ignore:.*get_cache_lock:DeprecationWarning")  # of stpipe
def test_hook(models, masks, monkeypatch):
    """Before a step of jwst; what it hangs on goes on with the flagged models."""
    monkeypatch.setenv("STPIPE_DISABLE_CRDS_STEPPARS", "true")
    models[0].stellarity = 0.0
    inputs = multi(models[0])
    wanted = find_outliers_alone(source_of(models).cutouts[0], LacosmicOptions())
    assert wanted.any()
    result = SourceTypeStep.call(inputs, pre_hooks=[MSA3DOutlierStep(method="lacosmic")])
    np.testing.assert_array_equal(result.slits[0].dq & FLAGS == FLAGS, wanted)
    assert result.meta.cal_step.outlier_detection == "COMPLETE"
