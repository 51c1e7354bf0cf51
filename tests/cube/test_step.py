"""The step as people call it: every form of input, run files, hooks, errors."""

import json
import os
import shutil
import subprocess
import sys
from copy import deepcopy
from pathlib import Path

import asdf
import numpy as np
import pytest
from astropy.io import fits
from commands import strun_here
from conftest import write_association
from empty_crds import empty_cache
from jwst.datamodels import ModelContainer, ModelLibrary, SourceModelContainer
from jwst.exp_to_source import multislit_to_container
from scene import as_model, as_multislit
from stdatamodels.jwst import datamodels

from msa3d_steps import IncompleteError, InputError, MSA3DCubeStep, MSACubeModel

NAME = "jw02136-o001_s000000933_nirspec_f100lp-g140m_s3d.fits"
STRUN = [str(Path(sys.executable).with_name("strun"))]


pytestmark = pytest.mark.usefixtures("folder")


@pytest.fixture
def models(small_survey):
    return [as_model(s) for s in small_survey]


@pytest.fixture(scope="module")
def expected(small_survey):
    """The cube that every form of input must give."""
    return MSA3DCubeStep.call([as_model(s) for s in small_survey])[0].data


def other_source(slit, source_id, name):
    slit = deepcopy(slit)
    slit.source_id, slit.source_name, slit.name = source_id, name, str(abs(source_id))
    return slit


def run(*arguments):
    """Run the command strun; without anything of CRDS, unless a test sets it."""
    return subprocess.run(
        [*STRUN, *map(str, arguments)], capture_output=True, text=True, check=False
    )


# --- forms of input


def multi_exposure(models):
    model = datamodels.MultiExposureModel()
    for m in models:
        model.exposures.append(m)
    return model


FORMS = {
    "list of models": lambda m, p: m,
    "tuple of models": lambda m, p: tuple(m),
    "ModelContainer": lambda m, p: ModelContainer(m),
    "ModelLibrary": lambda m, p: ModelLibrary(m),
    "association path": lambda m, p: p,
    "association string": lambda m, p: str(p),
    "list of paths": lambda m, p: sorted(p.parent.glob("*.fits")),
    "list of strings": lambda m, p: [str(x) for x in sorted(p.parent.glob("*.fits"))],
    "MultiExposureModel": lambda m, p: multi_exposure(m),
    "SourceModelContainer": lambda m, p: SourceModelContainer(multi_exposure(m)),
    "containers of Spec3": lambda m, p: multislit_to_container([multi(x) for x in m])["1345_933"],
    "MultiSlitModels": lambda m, p: [multi(x) for x in m],
}


def multi(model):
    result = datamodels.MultiSlitModel()
    result.update(model)
    result.slits.append(model)
    return result


@pytest.mark.parametrize("form", FORMS)
def test_input_forms(form, models, survey_files, expected):
    inputs = FORMS[form](models, survey_files)
    cubes = MSA3DCubeStep.call(inputs)
    assert isinstance(cubes, ModelContainer)
    assert [c.meta.filename for c in cubes] == [NAME]
    assert isinstance(cubes[0], MSACubeModel)
    np.testing.assert_allclose(cubes[0].data, expected, rtol=1e-5, equal_nan=True)
    assert not list(Path.cwd().iterdir())


def test_single_models(models):
    """A SlitModel, a MultiSlitModel and the path of one exposure."""
    models[0].save("one_cal.fits")
    for form in (models[0], multi(models[0]), "one_cal.fits"):
        cube = MSA3DCubeStep.call(form)[0]
        assert cube.meta.msa3d.n_cutouts == 1
        assert cube.meta.filename == NAME


def test_input_is_not_changed(models):
    def metadata(model):
        flat = model.to_flat_dict(include_arrays=False)
        return {key: value for key, value in flat.items() if key != "meta.wcs"}

    before = [metadata(m) for m in models]
    transforms = [m.meta.wcs for m in models]
    arrays = [m.data.copy() for m in models]
    MSA3DCubeStep.call(ModelContainer(models), weighting="ivm")
    for model, meta, data, wcs in zip(models, before, arrays, transforms, strict=True):
        assert metadata(model) == meta
        assert model.meta.wcs is wcs
        np.testing.assert_array_equal(model.data, data)


def test_rectified_input(real_models, tmp_path):
    """Spectra that jwst itself has rectified give the same picture as the calibrated ones."""
    from jwst.resample import ResampleSpecStep

    calibrated = MSA3DCubeStep.call(list(real_models), linear_wave=True)[0]
    rectified = []
    for model in real_models:
        result = ResampleSpecStep().run(model)
        rectified.append(result)
    cube = MSA3DCubeStep.call(rectified, linear_wave=True)[0]
    assert cube.meta.msa3d.n_dithers == 3
    white, place = [], []
    for c in (calibrated, cube):
        inside = (c.wavelengths > 2) & (c.wavelengths < 5)
        image = np.nanmedian(c.data[inside][:, 1, :], axis=0)  # the row along the slit
        lit = np.nan_to_num(np.where(image > 0.5 * np.nanmax(image), image, 0))
        place.append(c.meta.wcs((lit * np.arange(lit.size)).sum() / lit.sum(), 1, 9)[:2])
        middle = image.size // 2
        # further out, rectified spectra have dark ends of slits in them, which cutouts leave out
        white.append(np.nanmean(image[middle - 2 : middle + 3]))
    assert white[1] == pytest.approx(white[0], rel=0.05)
    (ra0, dec0), (ra1, dec1) = place
    assert np.hypot((ra1 - ra0) * np.cos(np.deg2rad(dec0)), dec1 - dec0) * 3600 < 0.05


def test_several_sources(small_survey):
    """One cube for each source; background and virtual slits only when asked for."""
    names = [(933, "2136_933"), (8512, "2136_8512"), (7, "BKG_7"), (-12, "2136_-12")]
    files = [as_multislit([other_source(s, *name) for name in names]) for s in small_survey]

    def labels(**options):
        return [c.meta.msa3d.source_label for c in MSA3DCubeStep.call(files, **options)]

    assert labels() == ["s000000933", "s000008512"]
    everything = ["b000000007", "s000000933", "s000008512", "v000000012"]
    assert labels(background_slits=True, virtual_slits=True) == everything
    assert labels(sources=["8512"]) == ["s000008512"]
    assert labels(sources=["2136_933", "b000000007"]) == ["b000000007", "s000000933"]
    with pytest.raises(InputError, match="there is no source 5; there are: b000000007"):
        labels(sources=["5"])
    with pytest.raises(IncompleteError, match="there is no source 5") as caught:
        labels(sources=["5", "933"])
    assert len(caught.value.result) == 1


# --- products and parameters


@pytest.mark.parametrize(
    ("product", "name"),
    [
        ("jw1_{source_id}_x", "jw1_s000000933_x_s3d.fits"),
        ("survey", "survey_s000000933_s3d.fits"),
        ("jw1_s000000933_x", "jw1_s000000933_x_s3d.fits"),
    ],
)
def test_names(survey_files, product, name):
    path = write_association(
        survey_files.parent, [p.name for p in survey_files.parent.glob("*.fits")], product
    )
    MSA3DCubeStep.call(path, save_results=True)
    assert [p.name for p in Path.cwd().iterdir()] == [name]


def test_output_file_and_folder(survey_files):
    MSA3DCubeStep.call(survey_files, output_file="mine.fits", output_dir="a/b")
    assert [p.name for p in Path("a/b").iterdir()] == ["mine_s000000933_s3d.fits"]


def test_grid_parameters(models):
    cube = MSA3DCubeStep.call(
        models, scalexy=0.08, scalew=0.005, wavemin=1.05, wavemax=1.15, cube_pa=30.0,
        ra_center=150.1001, dec_center=2.1998, nspax_x=11, nspax_y=14, slit_frac=0.5, pixfrac=0.7,
    )[0]  # fmt: skip
    assert cube.data.shape == (20, 15, 11)
    info = cube.meta.wcsinfo
    assert info.cdelt1 * 3600 == pytest.approx(0.08)
    assert (info.crval1, info.crval2) == (150.1001, 2.1998)
    assert (info.crpix1, info.crpix2) == (6, 8)
    assert info.cdelt3 == pytest.approx(0.005)
    np.testing.assert_allclose(cube.wavelengths[[0, -1]], [1.0525, 1.1475], rtol=1e-6)
    # north is 30 degrees from the y axis: one spaxel up moves by sin 30 to the east
    (ra0, dec0, _), (ra1, dec1, _) = cube.meta.wcs(5, 7, 0), cube.meta.wcs(5, 8, 0)
    east = (ra1 - ra0) * np.cos(np.deg2rad(dec0)) * 3600
    assert east == pytest.approx(0.08 * 0.5, rel=1e-4)
    assert (dec1 - dec0) * 3600 == pytest.approx(0.08 * np.sqrt(0.75), rel=1e-4)


def test_msaalign_follows_the_slits(models, synthetic):
    """The slits stand at -37 degrees; a spaxel up is a step along them."""
    cube = MSA3DCubeStep.call(models, coord_system="msaalign")[0]
    assert cube.meta.msa3d.cube_pa % 180 == pytest.approx(180 - 37, abs=0.01)
    assert cube.data.shape[1] > 1.5 * cube.data.shape[2]


def test_defaults_of_the_grid(models, real_models):
    cube = MSA3DCubeStep.call(models)[0]
    assert cube.meta.wcsinfo.cdelt1 * 3600 == pytest.approx(0.10)
    assert cube.meta.wcsinfo.ctype3 == "WAVE"
    assert cube.meta.wcsinfo.cdelt3 == pytest.approx(2.43e-3, rel=0.03)
    prism = MSA3DCubeStep.call(list(real_models))[0]
    assert prism.meta.wcsinfo.ctype3 == "WAVE-TAB"
    steps = np.diff(prism.wavelengths)
    assert 0.0205 > steps[0] > steps[-1] > 0.007  # the dispersion of the prism, um


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"slit_frac": 0.0}, "slit_frac is 0.0"),
        ({"pixfrac": 1.5}, "pixfrac is 1.5"),
        ({"ra_center": 10.0}, "go together"),
        ({"wavemin": 7.0}, "no wavelength is left"),
        ({"scalexy": 1e-6}, "choose larger scalexy"),
        ({"scalexy": float("nan")}, "scalexy is nan"),
        ({"scalew": 1e-12}, "channels; choose a larger scalew"),
        ({"wavemin": 20000.0, "wavemax": 50000.0}, "the data reach from 0.99"),
        ({"ra_center": 10.0, "dec_center": 10.0}, r"far from the data, which are at 150\.0"),
        ({"ra_center": 330.1, "dec_center": -2.2}, "far from the data"),
        ({"ra_center": 150.1, "dec_center": 2.21, "nspax_x": 5, "nspax_y": 5}, "no pixel falls"),
        ({"linear_wave": False, "scalew": 0.01}, "leave out linear_wave or scalew"),
        ({"maximum_cores": "many"}, "maximum_cores is many"),
    ],
)
def test_bad_parameters(models, options, message):
    with pytest.raises(InputError, match=message):
        MSA3DCubeStep.call(models, **options)


# --- run files


def write_run_file(path, inputs, parameters=None, cls="msa3d_steps.MSA3DCubeStep"):
    tree = {"class": cls, "name": "msa3d_cube", "parameters": parameters or {}}
    if inputs is not None:
        tree["inputs"] = inputs
    asdf.AsdfFile(tree).write_to(path)
    return path


def spaxel(path):
    return fits.getheader(path, "SCI")["CDELT1"] * 3600


def test_run_file(survey_files, folder):
    """Command line over run file over defaults; paths are relative to the run file."""
    members = [p.name for p in survey_files.parent.glob("*.fits")]
    inputs = {"members": members, "product_name": "mine"}
    config = write_run_file(survey_files.parent / "config.asdf", inputs, {"scalexy": 0.2})
    name = "mine_s000000933_s3d.fits"
    done = run("msa3d_cube", config, "--scalexy=0.05")
    assert done.returncode == 0, done.stderr
    assert spaxel(name) == pytest.approx(0.05)
    Path(name).unlink()
    for arguments in (["msa3d_cube", config], [config]):
        assert strun_here(*arguments) == 0
        assert spaxel(name) == pytest.approx(0.2)
        Path(name).unlink()
    assert strun_here(config, survey_files) == 0
    assert [p.name for p in folder.iterdir()] == [NAME]
    assert spaxel(NAME) == pytest.approx(0.2)


def test_run_file_in_python(survey_files):
    config = survey_files.parent / "config.asdf"
    write_run_file(config, {"members": ["asn.json"]}, {"scalexy": 0.2})
    assert MSA3DCubeStep.call(str(config))[0].meta.wcsinfo.cdelt1 * 3600 == pytest.approx(0.2)
    cube = MSA3DCubeStep.call(str(config), scalexy=0.05)[0]
    assert cube.meta.wcsinfo.cdelt1 * 3600 == pytest.approx(0.05)


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        (None, "says nothing about inputs"),
        ({"members": []}, "is no valid run file"),
        ({"members": ["a.fits"], "colour": "red"}, "is no valid run file"),
        ({"product_name": "x"}, "is no valid run file"),
        ({"members": ["nowhere.fits"]}, "there is no such file"),
    ],
)
def test_bad_run_files(tmp_path, inputs, message):
    with pytest.raises(InputError, match=message):
        MSA3DCubeStep.call(str(write_run_file(tmp_path / "config.asdf", inputs)))


def test_run_file_of_another_step(tmp_path):
    config = write_run_file(tmp_path / "c.asdf", {"members": ["a"]}, cls="jwst.step.PhotomStep")
    with pytest.raises(InputError, match=r"is a run file for jwst\.step\.PhotomStep"):
        MSA3DCubeStep.call(str(config))


# --- the command line


def test_strun(survey_files, folder, capsys):
    assert strun_here("msa3d_cube", survey_files) == 0
    assert [p.name for p in folder.iterdir()] == [NAME]
    said = capsys.readouterr()
    assert "s000000933: 6 cutouts, 2 steps x 3 dithers" in said.out + said.err


def test_strun_without_input():
    done = run("msa3d_cube")
    assert done.returncode == 1
    assert "nothing to work on" in done.stdout
    assert "Traceback" not in done.stderr


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_strun_with_a_truncated_file(survey_files, folder, capsys):
    """The bad file is named, the cube is made of the others, and the exit status tells."""
    bad = sorted(survey_files.parent.glob("*.fits"))[2]
    bad.write_bytes(bad.read_bytes()[:50000])
    assert strun_here("msa3d_cube", survey_files) == 1
    said = capsys.readouterr()
    assert bad.name in " ".join(said.out.split()).replace(" ", "")
    assert "Traceback" not in said.err
    with MSACubeModel(str(folder / NAME)) as cube:
        assert cube.meta.msa3d.n_cutouts == 5


# --- bad input


def spoil(model, **changes):
    """A copy of a model with some of its content replaced."""
    model = model.copy()
    for path, value in changes.items():
        node = model
        *parents, last = path.split("__")
        for parent in parents:
            node = getattr(node, parent)
        setattr(node, last, value)
    return model


BAD = {
    "point source": (
        lambda m: spoil(m, meta__bunit_data="MJy"),
        "in MJy, calibrated as a point source.*source_type=EXTENDED",
    ),
    "uncalibrated": (lambda m: spoil(m, meta__bunit_data="DN/s"), "the unit is DN/s"),
    "no unit": (lambda m: spoil(m, meta__bunit_data=None), "the unit is not given"),
    "no WCS": (lambda m: spoil(m, meta__wcs=None), "the WCS is missing"),
    "all NaN": (lambda m: spoil(m, data=np.full(m.data.shape, np.nan, "f4")), "no pixel has data"),
    "all flagged": (lambda m: spoil(m, dq=np.ones(m.data.shape, "u4")), "no pixel has data"),
}


@pytest.mark.parametrize("fault", BAD)
def test_one_bad_cutout(models, fault):
    """It is named with file and slit, and the others make the cube."""
    make, message = BAD[fault]
    models[3] = make(models[3])
    with pytest.raises(IncompleteError, match=f"00004_nrs1_cal.fits, slit 138: .*{message}") as e:
        MSA3DCubeStep.call(models)
    assert e.value.exit_status == 1
    assert e.value.result[0].meta.msa3d.n_cutouts == 5


@pytest.mark.parametrize("fault", BAD)
def test_only_bad_cutouts(models, fault):
    make, message = BAD[fault]
    with pytest.raises(InputError, match=f"no cube could be made.*{message}"):
        MSA3DCubeStep.call([make(m) for m in models[:1]])


def test_cutouts_too_small(models):
    """A cutout of one row is left out; the others make the cube."""
    models[1] = spoil(models[1], **{k: getattr(models[1], k)[9:10] for k in ("data", "dq", "err")})
    with pytest.raises(IncompleteError, match="the cutout is only") as caught:
        MSA3DCubeStep.call(models)
    assert caught.value.result[0].meta.msa3d.n_cutouts == 5


def test_no_errors_at_all(models):
    zero = np.zeros(models[0].data.shape, "f4")
    bad = spoil(models[0], err=zero, var_poisson=zero, var_rnoise=zero)
    with pytest.raises(InputError, match="neither an error nor a variance above 0"):
        MSA3DCubeStep.call(bad)


def test_the_same_exposure_twice(survey_files, caplog):
    """It counts once, or errors would come out too small."""
    paths = sorted(survey_files.parent.glob("*.fits"))
    twice = MSA3DCubeStep.call([*paths, paths[2]], configure_log=False)[0]
    assert twice.meta.msa3d.n_cutouts == 6
    assert twice.nexp.max() <= 6
    assert "left out, it is the same exposure" in caplog.text


def test_weights_that_cannot_be_made(models, caplog):
    models[1] = spoil(
        models[1], meta__exposure__exposure_time=None,
        meta__exposure__effective_exposure_time=None, var_rnoise=np.zeros_like(models[1].data),
    )  # fmt: skip
    with pytest.raises(InputError, match=r"00002.*the exposure time is not known"):
        MSA3DCubeStep.call(models, weighting="exptime")
    cube = MSA3DCubeStep.call(models, weighting="ivm", configure_log=False)[0]
    assert "there is no read-noise variance" in caplog.text
    plain = MSA3DCubeStep.call(models)[0]
    np.testing.assert_array_equal(np.isfinite(cube.data), np.isfinite(plain.data))


def test_exposures_without_numbers(models):
    """Without observation keywords the file names tell exposures apart."""
    for i, model in enumerate(models):
        model.meta.observation.program_number = None
        model.meta.observation.exposure_number = "1"
        model.meta.filename = f"mine_{i}_nrs1_cal.fits"
    cube = MSA3DCubeStep.call(models)[0]
    assert cube.meta.msa3d.n_exposures == 6


def test_mixed_gratings(models):
    """One cube for each grating, of its exposures alone, with names that tell them apart."""
    models[2] = spoil(models[2], meta__instrument__grating="G235H")
    cubes = MSA3DCubeStep.call(models)
    assert [cube.meta.filename for cube in cubes] == [
        "jw02136-o001_s000000933_nirspec_f100lp-g140m_s3d.fits",
        "jw02136-o001_s000000933_nirspec_f100lp-g235h_s3d.fits",
    ]
    assert [cube.meta.msa3d.n_cutouts for cube in cubes] == [5, 1]
    assert [cube.meta.instrument.grating for cube in cubes] == ["G140M", "G235H"]


def test_one_bad_source_among_good_ones(small_survey, folder):
    """Slits in other units cost the others nothing."""
    files = [
        as_multislit([other_source(s, 933, "a_933"), other_source(s, 34, "a_34")])
        for s in small_survey
    ]
    for slit in files[1].slits:
        if slit.source_id == 34:
            slit.meta.bunit_data = "MJy"
    files[0].slits[1].meta.bunit_data = "DN"
    with pytest.raises(IncompleteError) as caught:
        MSA3DCubeStep.call(files, save_results=True)
    assert len(caught.value.problems) == 2
    assert len(list(folder.iterdir())) == 2


@pytest.mark.parametrize(
    ("members", "message"),
    [([], "no science members"), (["gone.fits"], "there is no such file; check the path")],
)
def test_bad_associations(tmp_path, members, message):
    with pytest.raises(InputError, match=message):
        MSA3DCubeStep.call(write_association(tmp_path, members))


def test_association_that_is_none(tmp_path):
    path = tmp_path / "asn.json"
    path.write_text("{")
    with pytest.raises(InputError, match="is no association"):
        MSA3DCubeStep.call(path)
    path.write_text(json.dumps({"a": 1}))
    with pytest.raises(InputError, match="is no association"):
        MSA3DCubeStep.call(path)
    with pytest.raises(InputError, match="No such file"):
        MSA3DCubeStep.call(tmp_path / "nowhere.json")
    with pytest.raises(InputError, match="list of exposures is empty"):
        MSA3DCubeStep.call([])
    with pytest.raises(InputError, match="is no input"):
        MSA3DCubeStep.call(3.5)
    with pytest.raises(InputError, match="the list holds a list"):
        MSA3DCubeStep.call([["a.fits"]])
    with pytest.raises(InputError, match="is a folder"):
        MSA3DCubeStep.call(str(tmp_path))


def test_images_are_refused(tmp_path):
    datamodels.IFUImageModel(np.zeros((4, 4), "f4")).save(tmp_path / "image.fits")
    with pytest.raises(InputError, match=r"has no slits .it opens as IFUImageModel"):
        MSA3DCubeStep.call(tmp_path / "image.fits")


def test_unwritable_output(models, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"the output folder .* cannot be made"):
        MSA3DCubeStep.call(models, save_results=True, output_dir=str(tmp_path / "file" / "x"))


def test_full_disk(small_survey, folder, monkeypatch):
    """The cube that does not fit is named, the others are kept, and no torn file is left."""
    files = [
        as_multislit([other_source(s, 1, "a_1"), other_source(s, 2, "a_2")]) for s in small_survey
    ]
    save = MSACubeModel.to_fits

    def fill_up(model, path, *args, **kwargs):
        if "s000000001" in path:
            Path(path).write_bytes(b"half")
            raise OSError(28, "No space left on device")
        save(model, path, *args, **kwargs)

    monkeypatch.setattr(MSACubeModel, "to_fits", fill_up)
    with pytest.raises(IncompleteError, match=r"s000000001.*No space left.*--output_dir"):
        MSA3DCubeStep.call(files, save_results=True)
    assert [p.name.split("_")[1] for p in folder.iterdir()] == ["s000000002"]


# --- inside a jwst pipeline

SKIPPED = (
    "assign_mtwcs", "master_background", "outlier_detection", "adaptive_trace_model",
    "extract_1d", "combine_1d", "photom", "cube_build", "spectral_leak",
)  # fmt: skip
SPEC3 = [
    "--steps.pixel_replace.skip=false",
    *(f"--steps.{step}.skip=true" for step in SKIPPED),
]
SPEC3_CUBE = "jw01345-o062_s000000933_nirspec_s3d.fits"


def spec3(strun, asn, folder, *options):
    """Run jwst's pipeline; gives its products by name."""
    assert strun("calwebb_spec3", asn, f"--output_dir={folder}", *SPEC3, *options) == 0
    return {p.name: p for p in folder.iterdir()}


def hook(parameters=""):
    return f"--steps.pixel_replace.post_hooks=msa3d_steps.MSA3DCubeStep{parameters},"


@pytest.fixture(scope="module")
def two_exposures(real_models, tmp_path_factory):
    """An association of two exposures of a source and a background slit; variables of CRDS."""
    folder = tmp_path_factory.mktemp("spec3")
    names = []
    for i, model in enumerate(real_models[:2]):
        exposure = datamodels.MultiSlitModel()
        exposure.update(model)
        exposure.meta.wcs = None
        for source_id, name in ((933, "1345_933"), (12, "BKG_12")):
            slit = model.copy()
            slit.source_id, slit.source_name = source_id, name
            exposure.slits.append(slit)
        names.append(f"jw01345062001_03101_{i + 1:05d}_nrs2_cal.fits")
        exposure.save(str(folder / names[-1]))
    asn = write_association(folder, names, "jw01345-o062_{source_id}_nirspec")
    return asn, empty_cache(folder / "crds")


@pytest.fixture
def crds(two_exposures, monkeypatch):
    for name, value in two_exposures[1].items():
        monkeypatch.setenv(name, value)


@pytest.mark.filterwarnings("ignore:.*get_cache_lock:DeprecationWarning")  # of stpipe
def test_hook_in_spec3(two_exposures, tmp_path, crds):
    """The hook writes the cube of every source and leaves Spec3's own products as they are."""

    def command(*arguments):
        done = run(*arguments)
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
        return done.returncode

    asn, _ = two_exposures
    (tmp_path / "with").mkdir()
    (tmp_path / "without").mkdir()
    hooked = spec3(command, asn, tmp_path / "with", hook())
    plain = spec3(strun_here, asn, tmp_path / "without")
    assert set(hooked) - set(plain) == {SPEC3_CUBE}
    assert set(plain) <= set(hooked)
    for name, path in plain.items():
        with fits.open(path) as a, fits.open(hooked[name]) as b:
            assert [h.name for h in a] == [h.name for h in b]
            for x, y in zip(a, b, strict=True):
                if x.name not in ("PRIMARY", "ASDF", "HDRTAB") and x.data is not None:
                    np.testing.assert_array_equal(x.data, y.data)
    with MSACubeModel(str(hooked[SPEC3_CUBE])) as found:
        assert found.meta.msa3d.n_cutouts == 2
        assert found.meta.wcsinfo.cdelt1 * 3600 == pytest.approx(0.1)


@pytest.mark.skipif(not os.environ.get("MSA3D_LONG"), reason="set MSA3D_LONG=1: it takes long")
@pytest.mark.filterwarnings("ignore:.*get_cache_lock:DeprecationWarning")  # of stpipe
def test_hook_with_parameters_in_spec3(two_exposures, tmp_path, crds):
    """The hook knows no pipeline, and yet its cube goes where the pipeline's products go."""
    skip = "--steps.resample_spec.skip=true"
    made = spec3(strun_here, two_exposures[0], tmp_path, hook("(scalexy=2e-1)"), skip)
    with MSACubeModel(str(made[SPEC3_CUBE])) as found:
        assert found.meta.msa3d.n_cutouts == 2
        assert found.meta.wcsinfo.cdelt1 * 3600 == pytest.approx(0.2)


def test_member_of_a_pipeline(models, folder):
    """As a member of step_defs it returns its cubes to the pipeline."""
    from jwst.stpipe import Pipeline

    class Mine(Pipeline):
        step_defs = {"msa3d_cube": MSA3DCubeStep}  # noqa: RUF012

        def process(self, inputs):
            self.cubes = self.msa3d_cube.run(inputs)

        def finalize_result(self, result, reference_files_used):
            pass

    pipeline = Mine(steps={"msa3d_cube": {"scalexy": 0.2}})
    pipeline.run(ModelContainer(models))
    assert pipeline.cubes[0].meta.wcsinfo.cdelt1 * 3600 == pytest.approx(0.2)
    assert not list(folder.iterdir())
    shutil.rmtree(folder)
