"""A survey with two gratings: a cube for each source and grating, the same as by itself."""

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table
from pipeline_runs import PRODUCT, association, everything_in, files, times_of
from stdatamodels.jwst import datamodels

from msa3d_steps import MSA3DCubeStep, MSA3DOutlierStep, MSA3DSpec3Pipeline, MSACubeModel
from msa3d_steps.cube.naming import product_stem
from msa3d_steps.cube.sources import Source
from msa3d_steps.errors import InputError
from msa3d_steps.simulate.config import Survey
from msa3d_steps.simulate.exposure import ExposureName

OPTICS = {"s000000001_f100lp-g140h": "grating", "s000000001_clear-prism": "prism"}
WIDER = {"wavemin": 1.20, "wavemax": 1.25}
PRODUCT_OF_ALL = "jw09999-o001_{source_id}_nirspec"


@pytest.fixture(scope="module")
def members(survey_folder):
    """Exposures of either survey: both have a source 1, and files of the same names."""
    return {name: files(survey_folder(name), "cal") for name in ("grating", "prism")}


@pytest.fixture(scope="module")
def both(members, tmp_path_factory):
    """The association of both."""
    paths = [*members["grating"], *members["prism"]]
    return association(tmp_path_factory.mktemp("both"), paths, PRODUCT_OF_ALL)


def run(inputs, output_dir, **options):
    return MSA3DSpec3Pipeline.call(
        inputs, output_dir=str(output_dir), save_results=True, sources=["1"],
        steps={"cube": WIDER, "quicklook": {"skip": True}}, **options,
    )  # fmt: skip


@pytest.fixture(scope="module")
def made(both, tmp_path_factory):
    folder = tmp_path_factory.mktemp("made")
    return run(str(both), folder), folder


def test_a_cube_for_each(made):
    """Names tell them apart, in the table, too; each has the exposures of its grating."""
    cubes, folder = made
    assert set(cubes.paths) == set(OPTICS)
    assert list(cubes.summary["source"]) == sorted(OPTICS, reverse=True)
    for title, path in cubes.paths.items():
        label, optics = title.split("_")
        assert path.name == f"jw09999-o001_{label}_nirspec_{optics}_s3d.fits"
        with MSACubeModel(path) as cube:
            header = cube.meta.instrument
            assert f"{header.filter}-{header.grating}".lower() == optics
    table = Table.read(folder / "jw09999-o001_nirspec_msa3d" / "summary.ecsv")
    assert dict(zip(table["source"], table["exposures_used"], strict=True)) == {
        "s000000001_f100lp-g140h": 2, "s000000001_clear-prism": 2,
    }  # fmt: skip


def test_same_as_by_itself(made, members, tmp_path):
    """Outliers are found and cubes built as if the other grating were not there."""
    cubes, _ = made
    for title, name in OPTICS.items():
        alone = run(list(map(str, members[name])), tmp_path / name, output_file=PRODUCT)
        assert list(alone.paths) == ["s000000001"]
        with fits.open(cubes.paths[title]) as one, fits.open(alone.paths["s000000001"]) as other:
            for extension in ("SCI", "ERR", "DQ", "NEXP", "WMAP"):
                np.testing.assert_array_equal(one[extension].data, other[extension].data)
            assert len(one["EXPOSURES"].data) == len(other["EXPOSURES"].data)


def test_goes_on(both, made):
    """The same command makes nothing again: each cube is known by its own key."""
    _, folder = made
    before, cubes = everything_in(folder), times_of(folder, "*_s3d.fits")
    assert len(cubes) == 2
    run(str(both), folder)
    assert everything_in(folder) == before
    assert times_of(folder, "*_s3d.fits") == cubes


def test_cube_step(members, made, tmp_path):
    """Same names and voxels; a product name of one grating is put right for the other."""
    cubes, _ = made
    asn = association(tmp_path, [*members["grating"], *members["prism"]], PRODUCT)
    built = MSA3DCubeStep.call(str(asn), sources=["1"], **WIDER)
    assert [c.meta.filename for c in built] == [
        "jw09999-o001_s000000001_nirspec_f100lp-g140h_s3d.fits",
        "jw09999-o001_s000000001_nirspec_clear-prism_s3d.fits",
    ]
    for cube, title in zip(built, sorted(OPTICS, reverse=True), strict=True):
        with MSACubeModel(cubes.paths[title]) as other:
            np.testing.assert_array_equal(np.isnan(cube.data), np.isnan(other.data))


def test_outlier_step_on_models(members):
    """Pixels are compared with those of the same grating: flags are those of each by itself."""
    chosen = [members["grating"][0], *members["prism"][::2]]
    together = MSA3DOutlierStep.call(list(map(str, chosen)), method="both")
    alone = [
        *MSA3DOutlierStep.call([str(chosen[0])], method="both"),
        *MSA3DOutlierStep.call(list(map(str, chosen[1:])), method="both"),
    ]
    assert len(together) == len(alone) == 3
    for one, other in zip(together, alone, strict=True):
        for a, b in zip(one.slits, other.slits, strict=True):
            np.testing.assert_array_equal(a.dq, b.dq)


def test_models_of_one_source(members):
    """As a hook in calwebb_spec3 has them: exposures of both gratings in one model."""
    model = datamodels.MultiExposureModel()
    for path in (members["grating"][0], *members["prism"][::2]):
        with datamodels.open(path) as exposure:
            for slit in exposure.slits:
                if slit.source_id == 1:
                    entry = slit.instance | {
                        "meta": {**exposure.meta.instance, **slit.meta.instance}
                    }
                    model.exposures.append(entry)
    titles = [c.meta.filename for c in MSA3DCubeStep.call(model, **WIDER)]
    assert len(titles) == 2
    assert {name.split("_nirspec_")[1] for name in titles} == {
        "f100lp-g140h_s3d.fits", "clear-prism_s3d.fits"
    }  # fmt: skip


@pytest.mark.parametrize(
    ("given", "several", "expected"),
    [
        ("jw1-o1_{source_id}_nirspec_f100lp-g140h", True, "jw1-o1_s1_nirspec_clear-prism"),
        ("jw1-o1_{source_id}_nirspec_f100lp-g140h", False, "jw1-o1_s1_nirspec_clear-prism"),
        ("jw1-o1_{source_id}_nirspec_g140h-f100lp", True, "jw1-o1_s1_nirspec_clear-prism"),
        ("jw1-o1_{source_id}_nirspec_clear-prism", True, "jw1-o1_s1_nirspec_clear-prism"),
        ("mine", False, "mine_s1"),
        ("mine", True, "mine_s1_clear-prism"),
        ("clear-prismatic", False, "clear-prismatic_s1"),
    ],
)
def test_names(given, several, expected):
    """The grating in a name is the right one; it is added where names would else be the same."""
    source = Source("s1", 1, "1", disperser="PRISM/CLEAR", told_apart=several)
    assert product_stem(source, None, given) == expected


def test_simulated_observations():
    """Surveys that go together have numbers, and so names, of their own."""
    name = ExposureName(3, "NRS1", Survey(observation=12).observation)
    assert name.file("cal") == "jw09999012001_03101_00003_nrs1_cal.fits"
    assert name.product(12) == "jw09999-o012"
    with pytest.raises(InputError, match="observation is 1000"):
        Survey(observation=1000)
