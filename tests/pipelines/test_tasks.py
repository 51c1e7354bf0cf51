"""Many tasks in this process and in others: outcomes, killed workers, ends."""

import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import psutil
import pytest

from msa3d_steps.errors import InputError
from msa3d_steps.tasks import TRIES, WorkerLost, Workers, number_of_cores

PATIENCE = 30  # s, for what takes a moment


def square(number):
    if number < 0:
        raise InputError("is negative", "numbers.txt", str(number))
    return number**2


def variable(name):
    return os.environ.get(name)


def process(_):
    time.sleep(0.2)
    return os.getpid()


def sleep(_):
    time.sleep(2 * PATIENCE)


class TwoWordsError(Exception):
    """Cannot be sent between processes as it is: pickle calls it with one argument."""

    def __init__(self, one, two):
        super().__init__(f"{one} {two}")


def two_words(number):
    if number == 2:
        raise TwoWordsError("cannot", "travel")
    return number


def unsendable(number):
    return (lambda: number) if number == 2 else number


def killed(number, folder, times):
    """Kill its own worker for number 3, the first times that it is called."""
    count = len(list(folder.glob(f"{number}-*")))
    (folder / f"{number}-{count}").touch()
    if number == 3 and count < times:
        os.kill(os.getpid(), signal.SIGKILL)
    return number**2


_set_up = []


def set_up(value):
    _set_up.append(value)


def what_is_set_up(_):
    return tuple(_set_up), os.getpid()


@pytest.fixture(scope="module")
def two():
    """Two processes for the tests that do not kill any."""
    with Workers(2, setup=(set_up, "ready")) as workers:
        yield workers


def outcomes(function, items, workers=None):
    """Run tasks, in two processes of their own if in no others; returns their outcomes by item."""
    if workers is None:
        with Workers(2) as workers:
            return outcomes(function, items, workers)
    return {outcome.item: outcome for outcome in workers.run(function, items)}


@pytest.mark.parametrize("cores", [1, 2])
def test_outcomes(cores, two):
    found = outcomes(square, [3, -1, 5, 4], two if cores == 2 else Workers(1))
    assert {item: o.result for item, o in found.items()} == {3: 9, -1: None, 5: 25, 4: 16}
    assert [o.error is None for o in found.values()].count(False) == 1
    assert found[4].unwrap() == 16
    with pytest.raises(InputError, match="is negative") as raised:
        found[-1].unwrap()
    assert (raised.value.problem.file, raised.value.problem.slit) == ("numbers.txt", "-1")


def test_two_processes_share_the_tasks(two):
    found = {o.result for o in outcomes(process, range(6), two).values()}
    assert len(found) == 2
    assert os.getpid() not in found


def test_one_core_is_this_process_in_order():
    with Workers(1) as workers:
        assert [o.item for o in workers.run(process, [2, 0, 1])] == [2, 0, 1]
        assert next(workers.run(process, [0])).result == os.getpid()


def test_nothing_to_do_starts_nothing():
    with Workers(2) as workers:
        before = psutil.Process().children(recursive=True)
        assert list(workers.run(square, [])) == []
        assert psutil.Process().children(recursive=True) == before


@pytest.mark.parametrize("function", [two_words, unsendable])
def test_what_cannot_be_sent_costs_its_own_task_only(function, two):
    found = outcomes(function, [1, 2, 3], two)
    assert (found[1].result, found[3].result) == (1, 3)
    assert found[2].error is not None
    assert not isinstance(found[2].error, WorkerLost)
    if function is two_words:
        assert "cannot travel" in str(found[2].error)


def test_environment_is_that_of_the_moment(monkeypatch):
    with Workers(2) as workers:
        monkeypatch.setenv("MSA3D_TEST_VARIABLE", "late")
        (outcome,) = workers.run(variable, ["MSA3D_TEST_VARIABLE"])
    assert outcome.result == "late"


@pytest.mark.parametrize("cores", [1, 2])
def test_setup_is_called_once_in_each_process(cores, two):
    _set_up.clear()
    workers = two if cores == 2 else Workers(1, setup=(set_up, "ready"))
    found = [o.result for _ in range(2) for o in workers.run(what_is_set_up, range(4))]
    assert {values for values, _ in found} == {("ready",)}
    assert (os.getpid() in {pid for _, pid in found}) == (cores == 1)


def test_task_of_a_killed_worker_is_done_again(tmp_path):
    found = outcomes(partial(killed, folder=tmp_path, times=1), range(8))
    assert {item: o.unwrap() for item, o in found.items()} == {n: n**2 for n in range(8)}
    assert len(list(tmp_path.glob("3-*"))) == 2
    # it may have cost the other worker what it had in hand, which is one task, and no more
    assert len(list(tmp_path.iterdir())) <= 8 + 2


def test_task_that_kills_each_worker_is_given_up(tmp_path):
    found = outcomes(partial(killed, folder=tmp_path, times=99), range(6))
    assert isinstance(found.pop(3).error, WorkerLost)
    assert len(list(tmp_path.glob("3-*"))) == TRIES
    assert {item: o.unwrap() for item, o in found.items()} == {n: n**2 for n in (0, 1, 2, 4, 5)}


def test_no_worker_is_left(tmp_path):
    before = set(psutil.Process().children(recursive=True))
    outcomes(square, range(4))
    start = time.monotonic()
    with pytest.raises(RuntimeError, match="of the caller"), Workers(2) as workers:
        for _ in workers.run(first_then_sleep, [0, 1, 2]):
            raise RuntimeError("of the caller")
    assert time.monotonic() - start < PATIENCE
    _, alive = psutil.wait_procs(
        [p for p in psutil.Process().children(recursive=True) if p not in before
         and "resource_tracker" not in " ".join(p.cmdline())], PATIENCE,
    )  # fmt: skip
    assert not alive


def first_then_sleep(number):
    if number:
        sleep(number)


SCRIPT = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background ignores it
sys.path.insert(0, {folder!r})
from msa3d_steps.tasks import Workers
from test_tasks import tell_and_sleep
with Workers(2) as workers:
    for outcome in workers.run(tell_and_sleep, [{out!r} + "/a", {out!r} + "/b"]):
        outcome.unwrap()
"""


def tell_and_sleep(path):
    part = Path(f"{path}.part")
    part.write_text(str(os.getpid()))
    part.rename(f"{path}.pid")
    sleep(path)


@pytest.mark.parametrize("kill", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_workers_end_with_their_parent(tmp_path, kill):
    script = SCRIPT.format(folder=str(Path(__file__).parent), out=str(tmp_path))
    parent = subprocess.Popen(
        [sys.executable, "-c", script], stderr=subprocess.DEVNULL, start_new_session=True
    )
    try:
        wait_for(lambda: len(list(tmp_path.glob("*.pid"))) == 2)
        workers = [psutil.Process(int(p.read_text())) for p in tmp_path.glob("*.pid")]
        assert {w.ppid() for w in workers} == {parent.pid}
        if kill == signal.SIGINT:
            os.killpg(parent.pid, kill)  # as a terminal does
        else:
            parent.send_signal(kill)
        parent.wait(PATIENCE)
        _, alive = psutil.wait_procs(workers, PATIENCE)
        assert not alive
    finally:
        parent.kill()
        parent.wait()


def wait_for(condition):
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, "nothing came"
        time.sleep(0.05)


@pytest.mark.parametrize("asked", ["none", "1", 1])
def test_one_core(asked):
    assert number_of_cores(asked) == 1


def test_number_of_cores_is_at_most_what_there_is():
    assert number_of_cores("all") == number_of_cores("100000") == os.cpu_count()
    assert number_of_cores("half") == max(1, os.cpu_count() // 2)


@pytest.mark.parametrize("asked", ["0", "-1", "many", "1.5"])
def test_wrong_number_of_cores(asked):
    with pytest.raises(InputError, match="maximum_cores is"):
        number_of_cores(asked)
