"""msa3d_spec3: cubes from files and models, in one process and in several, alone and as a part."""

import subprocess
import sys

import numpy as np
import pytest
from jwst.datamodels import ModelContainer, ModelLibrary
from jwst.stpipe import Pipeline
from pipeline_runs import (
    LABELS,
    NARROW,
    PLACE,
    PRODUCT,
    WINDOW,
    assert_same_cubes,
    association,
    bits,
    cubes_in,
    everything_in,
    files,
    long,
)
from shared_survey import assert_untouched
from stdatamodels.jwst import datamodels

from msa3d_steps import (
    InputError,
    MSA3DCubeStep,
    MSA3DOutlierStep,
    MSA3DSpec3Pipeline,
    MSACubeModel,
)
from msa3d_steps.simulate.references.crds import environment

ARRAYS = ("data", "err", "dq", "weightmap", "etime", "nexp", "exposure_table", "hdrtab")
SERIAL = {"maximum_cores": "none", "steps": NARROW}


@pytest.fixture(scope="session")
def cals(simulated):
    return files(simulated, "cal")


@pytest.fixture(scope="module")
def asn(cals, tmp_path_factory):
    return association(tmp_path_factory.mktemp("asn"), cals)


@pytest.fixture(scope="module")
def made(asn, tmp_path_factory):
    """The cubes of an undisturbed run, and their folder."""
    folder = tmp_path_factory.mktemp("made")
    return MSA3DSpec3Pipeline.call(asn, save_results=True, output_dir=str(folder), **SERIAL), folder


@pytest.fixture(scope="module")
def models(cals):
    """Open models of which everything was read that is read when it is needed."""
    opened = [datamodels.open(path) for path in cals]
    for model in opened:
        for slit in model.slits:
            _ = slit.data, slit.err, slit.dq, slit.var_poisson, slit.var_rnoise, slit.var_flat
    yield opened
    for model in opened:
        model.close()


def assert_equal_models(cubes, paths):
    assert len(cubes) == len(paths) == len(LABELS)
    for cube, path in zip(cubes, paths, strict=True):
        assert isinstance(cube, MSACubeModel)
        assert cube.meta.filename == path.name
        with MSACubeModel(path) as saved:
            for name in ARRAYS:
                mine, theirs = np.asarray(getattr(cube, name)), np.asarray(getattr(saved, name))
                if mine.dtype.names:
                    mine, theirs = mine.tolist(), theirs.tolist()
                    assert [len(row) for row in mine] == [len(row) for row in theirs]
                    assert repr(mine) == repr(theirs), name
                else:
                    np.testing.assert_array_equal(mine, theirs, name)
            assert cube.meta.wcsinfo.instance == saved.meta.wcsinfo.instance


def test_products(made):
    """One cube for each galaxy with jwst's names; a folder of records; no cutouts in the end."""
    _, folder = made
    assert {label: path.name for label, path in cubes_in(folder).items()} == {
        label: f"{PRODUCT.format(source_id=label)}_s3d.fits" for label in LABELS
    }
    records = {n for n in everything_in(folder) if not n.endswith("_s3d.fits")}
    exposures = [f"jw09999001001_03101_{n:05d}_nrs{d}_cal" for n in (1, 2, 3, 4) for d in (1, 2)]
    assert records == {
        f"{PLACE}/.lock", f"{PLACE}/parameters.asdf", f"{PLACE}/run.log", f"{PLACE}/summary.ecsv",
        *(f"{PLACE}/{f}" for name in (*exposures, *LABELS)
          for f in (f"reports/{name}.json", f"logs/{name}.log")),
    }  # fmt: skip
    assert not (folder / PLACE / "cutouts").exists()


def test_cubes_are_those_of_the_steps(made, asn, tmp_path):
    """Reading exposure by exposure and building source by source changes no bit."""
    flagged = MSA3DOutlierStep.call(asn)
    MSA3DCubeStep.call(flagged, save_results=True, output_dir=str(tmp_path), **WINDOW)
    for label, path in cubes_in(tmp_path).items():
        mine, theirs = bits(cubes_in(made[1])[label]), bits(path)
        assert set(mine) == set(theirs)
        for name, (data, _) in mine.items():
            if name != ("HDRTAB", 1):  # models have dates of their own
                assert data == theirs[name][0], name
    assert set(cubes_in(tmp_path)) == set(LABELS)


def test_cubes_are_opened_when_they_are_looked_at(made):
    cubes, folder = made
    assert len(cubes) == 3
    assert cubes.paths == cubes_in(folder)
    assert list(cubes.summary["source"]) == LABELS
    for cube in (cubes[1], cubes["s000000002"], cubes[-2]):
        with cube:
            assert isinstance(cube, MSACubeModel)
            assert cube.meta.msa3d.source_label == "s000000002"
    assert [cube.meta.filename for cube in cubes] == [path.name for path in cubes.paths.values()]
    with pytest.raises(KeyError):
        _ = cubes["s000000009"]
    with pytest.raises(IndexError):
        _ = cubes[3]


SCRIPT = """
import sys
from msa3d_steps import MSA3DSpec3Pipeline
from msa3d_steps.pipelines import limits
limits.WORTHWHILE = 0
cubes = MSA3DSpec3Pipeline.call(
    sys.argv[1], output_dir=sys.argv[2], save_results=True, maximum_cores="2", memory_limit=16,
    steps={"cube": {"wavemin": 1.20, "wavemax": 1.21}})
print("made", len(cubes))
"""


@long
def test_script_without_main_guard_in_two_processes(made, asn, tmp_path):
    """The workers do not run the script again; the cubes are the same bit for bit."""
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    out = tmp_path / "out"
    done = subprocess.run(
        [sys.executable, str(script), str(asn), str(out)],
        capture_output=True, text=True, check=False, cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.count("made 3") == 1
    assert "2 processes" in done.stderr
    assert_same_cubes(out, made[1])


@pytest.mark.parametrize("kind", [ModelContainer, pytest.param(ModelLibrary, marks=long)])
def test_open_models(made, models, tmp_path, monkeypatch, kind):
    """Open models give cubes in memory; they stay as they are, and nothing is written."""
    monkeypatch.chdir(tmp_path)
    before = [[slit.data.copy() for slit in model.slits] for model in models]
    names = [model.meta.filename for model in models]
    inputs = kind(models)
    cubes = MSA3DSpec3Pipeline.call(inputs, **SERIAL)
    assert isinstance(cubes, ModelContainer)
    assert_equal_models(cubes, list(cubes_in(made[1]).values()))
    for model, arrays, name in zip(models, before, names, strict=True):
        assert model.meta.filename == name
        for slit, array in zip(model.slits, arrays, strict=True):
            np.testing.assert_array_equal(slit.data, array)
    assert not list(tmp_path.iterdir())


def test_one_model_of_many(models, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (cube,) = MSA3DSpec3Pipeline.call(models[0], sources=["9999_3"], **SERIAL)
    assert cube.meta.msa3d.source_label == "s000000003"
    assert len(cube.exposure_table) == 1


def test_results_that_are_not_saved(made, asn, tmp_path, monkeypatch):
    """Files without save_results: cubes in memory, nothing is written."""
    monkeypatch.chdir(tmp_path)
    cubes = MSA3DSpec3Pipeline.call(asn, **SERIAL)
    assert isinstance(cubes, ModelContainer)
    assert_equal_models(cubes, list(cubes_in(made[1]).values()))
    assert not list(tmp_path.iterdir())


class TheirPipeline(Pipeline):
    """A pipeline as a user writes it."""

    class_alias = "theirs"
    step_defs = {"msa3d_spec3": MSA3DSpec3Pipeline}  # noqa: RUF012

    def process(self, data):
        return self.msa3d_spec3.run(data)


@pytest.mark.filterwarnings("ignore:.*path information")  # of jwst, as it should
@pytest.mark.filterwarnings("ignore:.*get_cache_lock:DeprecationWarning")  # of stpipe
def test_member_of_another_pipeline(made, asn, cals, tmp_path, monkeypatch):
    """Theirs asks CRDS for parameters, as all of jwst's do."""
    for name, value in environment(cals[0].parent / "crds").items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)
    cubes = TheirPipeline.call(str(asn), steps={"msa3d_spec3": SERIAL})
    assert_equal_models(cubes, list(cubes_in(made[1]).values()))


def test_chosen_sources(cals, tmp_path):
    """By number and by name; one that is nowhere is named, and the others are made."""
    out = str(tmp_path)
    cubes = MSA3DSpec3Pipeline.call(
        [str(c) for c in cals[:2]], save_results=True, output_dir=out, sources=["1", "9999_3"],
        **SERIAL,
    )  # fmt: skip
    assert list(cubes.paths) == ["s000000001", "s000000003"]
    with pytest.raises(InputError, match="there is no source 7; there are: s000000001, s000000002"):
        MSA3DSpec3Pipeline.call(
            [str(c) for c in cals[:2]], save_results=True, output_dir=out, sources=["7"], **SERIAL
        )


def test_inputs_stay_as_they_are(made, cals):
    assert_untouched(cals[0].parent)
