import fcntl
import gc
import os
import shutil
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))
DATA = HERE.parents[1] / "shared" / "data"

# no step of ours may need these; a test that does sets its own
for variable in ("CRDS_PATH", "CRDS_SERVER_URL", "CRDS_CONTEXT"):
    os.environ.pop(variable, None)


LONGEST = (
    "test_msa3d", "test_spec2", "test_step", "test_resume", "test_survey", "test_cubes",
    "test_examples", "test_bad_inputs", "test_spec3_pipeline", "test_relabel_step", "test_crds",
    "test_docs",
)  # fmt: skip
"""Files that take longest, which come first: so two processes end at about the same time."""


def pytest_configure(config):
    config.option.loadscopereorder = False  # pytest-xdist keeps to the order below


def pytest_collection_modifyitems(items):
    places = {name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: places.get(item.path.stem, len(places)))


def pytest_collection_finish():
    """Do not look for garbage in what was imported, nor at each turn: that is a quarter of it."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 20, 20)


@pytest.fixture(scope="module", autouse=True)
def no_crds_of_others():
    """Let crds forget the cache of a module at its end: it keeps contexts and rules per process."""
    yield
    if "crds.core.utils" in sys.modules:
        sys.modules["crds.core.utils"].clear_function_caches()


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Work in an empty folder."""
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    return work


@pytest.fixture(scope="session")
def made_once(tmp_path_factory):
    """Give a function that makes a folder once for all processes of a test run.

    ``made_once(name, make)`` calls ``make(folder)`` where no process has done so and returns the
    folder, in which no test may change anything. Of a process that was killed meanwhile nothing is
    used: the folder is made anew.
    """
    base = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        base = base.parent

    def once(name, make):
        folder, done = base / name, base / f"{name}.done"
        with (base / f"{name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # goes with the process, however that ends
            if not done.exists():
                shutil.rmtree(folder, ignore_errors=True)
                make(folder)
                done.touch()
        return folder

    return once


@pytest.fixture(scope="session")
def survey_folder(made_once):
    """Give a function that gives the folder of a survey of `shared_survey.py` by its name."""
    from shared_survey import simulate

    return lambda name: made_once(name, lambda folder: simulate(name, folder))


@pytest.fixture(scope="session")
def simulated(survey_folder):
    """The folder of a noise-free survey of 3 galaxies, 2 steps x 2 dithers, both detectors."""
    return survey_folder("galaxies")


@pytest.fixture(scope="session")
def real_paths():
    """Paths of the three real exposures of source 1345_933."""
    paths = sorted(DATA.glob("jw01345*_phot.*.fits"))
    if len(paths) < 3:
        pytest.skip("the real exposures (../shared/data) are not on this machine")
    return paths


@pytest.fixture(scope="session")
def real_models(real_paths):
    """The same, opened once; tests must not change them."""
    from stdatamodels.jwst import datamodels

    return [datamodels.open(path) for path in real_paths]


@pytest.fixture(scope="session")
def synthetic():
    """A slit made of polynomials and its quadrature nodes."""
    from scene import sample, synthetic_template

    template = synthetic_template()
    return template, sample(template.wcs, template.shape, (-2.4, 2.4))


@pytest.fixture(scope="session")
def small_survey(synthetic):
    """Two steps x three dithers of a compact source: plain slits."""
    from scene import Blob, pattern, survey

    template, sampling = synthetic
    blob = Blob(1.0, *template.source, 0.15)
    return survey(template, pattern(2, 3), [blob], sampling=sampling)


@pytest.fixture
def survey_files(small_survey, tmp_path):
    """The same as files with an association: its path."""
    from scene import as_model

    folder = tmp_path / "input"
    folder.mkdir()
    names = []
    for slit in small_survey:
        model = as_model(slit)
        model.save(str(folder / model.meta.filename))
        names.append(model.meta.filename)
    return write_association(folder, names)


def write_association(folder, names, product="jw02136-o001_{source_id}_nirspec_f100lp-g140m"):
    import json

    path = folder / "asn.json"
    members = [{"expname": str(name), "exptype": "science"} for name in names]
    path.write_text(
        json.dumps(
            {
                "asn_id": "a3001", "asn_pool": "none", "asn_type": "spec3",
                "asn_rule": "DMS_Level3_Base", "program": "02136",
                "products": [{"name": product, "members": members}],
            }
        )
    )  # fmt: skip
    return path
