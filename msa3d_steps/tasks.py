"""Many tasks, in this process, in others, or on a Dask cluster, in one way.

A worker that is killed costs what it was doing and no more: its task is done again. The workers of
this machine end when the process that started them does, however that ends.
"""

import gc
import logging
import multiprocessing
import os
import pickle
import signal
import sys
import threading
from collections import deque
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from types import ModuleType

from stcal.multiprocessing import compute_num_cores

from msa3d_steps import __version__
from msa3d_steps.errors import InputError

__all__ = ["Outcome", "WorkerLost", "Workers", "little_garbage", "number_of_cores"]

log = logging.getLogger(__name__)

TRIES = 3
"""How often a task is begun whose worker is killed."""

THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
"""Where the number of threads of linear algebra is set: workers share the cores already."""

GARBAGE = 50_000
"""Objects after which garbage is collected where that is to be seldom."""

WAIT = 60
"""How long a cluster may take to answer, s."""


class WorkerLost(RuntimeError):  # noqa: N818 - it says what happened
    """Raised for a task whose workers were killed each time."""


@dataclass(frozen=True)
class Outcome:
    """What became of a task.

    Attributes
    ----------
    item : object
        The task.
    result : object
        What it gave; None where it failed.
    error : Exception or None
        Why it failed.
    """

    item: object
    result: object = None
    error: Exception | None = None

    def unwrap(self):
        """Give the result, or raise the error."""
        if self.error is not None:
            raise self.error
        return self.result


def number_of_cores(maximum_cores):
    """Give the number of cores that ``maximum_cores`` means, as jwst means it.

    Parameters
    ----------
    maximum_cores : str or int
        ``none``, ``quarter``, ``half``, ``all`` or a number.

    Returns
    -------
    int
        At least 1, at most what this machine has.

    Raises
    ------
    InputError
        Where it is something else.
    """
    asked = str(maximum_cores).lower()
    if asked not in ("none", "quarter", "half", "all") and not (
        asked.isnumeric() and int(asked) > 0
    ):
        raise InputError(
            f"maximum_cores is {asked}; it must be none, quarter, half, all or a number"
        )
    available = os.cpu_count() or 1
    return compute_num_cores(asked, available, available)


class Workers:
    """Those who do the tasks: this process, others of this machine, or a Dask cluster.

    To be used as a context; processes begin with the first tasks and end with the context.

    Parameters
    ----------
    cores : int
        Number of processes. With one, all happens in this one.
    scheduler : str, optional
        Address of the scheduler of a Dask cluster, which is used in place of processes.
    setup : tuple, optional
        A function and its arguments, called once in each process before its first task.
    """

    def __init__(self, cores=1, scheduler=None, setup=None):
        self.cores = cores
        self.scheduler = scheduler
        self._setup = setup
        self._pool = None
        self._others = set()

    def __enter__(self):
        self._others = set(multiprocessing.active_children())
        return self

    def __exit__(self, kind, error, trace):
        if self._pool is None:
            return
        self._pool.shutdown(wait=error is None, cancel_futures=True)
        if error is not None:
            for child in set(multiprocessing.active_children()) - self._others:
                child.terminate()
                child.join()

    def begin(self):
        """Begin other processes now, which else begin with the first tasks."""
        if self.cores > 1 and not self.scheduler:
            self._submit(id, None)

    def run(self, function, items):
        """Call a function for each of many items and yield each outcome as soon as it is there.

        Parameters
        ----------
        function : callable
            ``function(item) -> result``; importable by its name.
        items : iterable
            The items; they and the results are sent between processes.

        Yields
        ------
        Outcome
            In the order in which they end.

        Raises
        ------
        InputError
            Where the cluster does not answer or has another version of this package.
        """
        items = list(items)
        if not items:
            return
        if self.scheduler:
            yield from _on_cluster(function, items, self.scheduler)
        elif self.cores > 1:
            yield from self._in_processes(function, items)
        else:
            if self._setup:
                function_of_setup, *arguments = self._setup
                function_of_setup(*arguments)
                self._setup = None
            for item in items:
                yield _outcome(function, item)

    def _in_processes(self, function, items):
        """Run tasks in other processes; after a kill those in flight are tried one by one."""
        todo = deque((item, 0) for item in items)
        running = {}
        while todo or running:
            while todo and len(running) < self.cores and not _must_be_alone(todo, running):
                item, tries = todo.popleft()
                running[self._submit(function, item)] = item, tries + 1
            done, _ = wait(running, return_when=FIRST_COMPLETED)
            lost = []
            for future in done:
                item, tries = running.pop(future)
                try:
                    outcome = future.result()
                except BrokenProcessPool:
                    lost.append((item, tries))
                except Exception as err:  # what cannot be sent between processes
                    yield Outcome(item, error=err)
                else:
                    yield outcome
            if lost:
                self._pool.shutdown()
                self._pool = None
                log.warning("A worker was killed; what it did is done again")
                for item, tries in (*lost, *running.values()):
                    if tries < TRIES:
                        todo.appendleft((item, tries))
                    else:
                        yield Outcome(item, error=WorkerLost(
                            "its worker was killed each time; is there enough memory?"
                        ))  # fmt: skip
                running = {}

    def _submit(self, function, item):
        if self._pool is None:
            # spawn: a fresh process has no locks of our threads, and our environment as it is now
            context = multiprocessing.get_context("spawn")
            self._pool = ProcessPoolExecutor(self.cores, context, _begin_worker, (self._setup,))
        with _processes_of_our_own():
            return self._pool.submit(_outcome_to_send, function, item)


def _outcome(function, item):
    try:
        return Outcome(item, function(item))
    except Exception as err:
        return Outcome(item, error=err)


def _outcome_to_send(function, item):
    """Do one task for another process; an error that does not survive the way is put in words.

    Many exceptions can be pickled and not be made again, which would break the receiver.
    """
    outcome = _outcome(function, item)
    try:
        pickle.loads(pickle.dumps(outcome.error))  # noqa: S301 - our own
    except Exception:
        error = RuntimeError(f"{type(outcome.error).__name__}: {outcome.error}")
        return Outcome(item, error=error)
    return outcome


def _must_be_alone(todo, running):
    """Whether a task whose worker was killed is involved: it must not cost others theirs."""
    return bool(running) and (todo[0][1] > 0 or any(tries > 1 for _, tries in running.values()))


@contextmanager
def little_garbage():
    """Collect garbage seldom, and let what was there before pass by.

    stpipe collects before each step; trees of ASDF and pictures are many objects that last.
    """
    before = gc.get_threshold()
    gc.collect()
    gc.freeze()
    gc.set_threshold(GARBAGE, *before[1:])
    try:
        yield
    finally:
        gc.set_threshold(*before)
        gc.unfreeze()


@contextmanager
def _processes_of_our_own():
    """Start processes that leave an interrupt to this one and do not run the user's script again.

    A new process imports the main module, so a script without ``if __name__ == "__main__"`` would
    start its own work in each. Ours do not need it.
    """
    main = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    unset = [name for name in THREADS if name not in os.environ]
    os.environ.update(dict.fromkeys(unset, "1"))  # must be there before numpy is imported
    in_main_thread = threading.current_thread() is threading.main_thread()
    before = signal.signal(signal.SIGINT, signal.SIG_IGN) if in_main_thread else None
    try:
        yield
    finally:
        sys.modules["__main__"] = main
        for name in unset:
            del os.environ[name]
        if in_main_thread:
            signal.signal(signal.SIGINT, before)


def _begin_worker(setup):
    """Make a worker ready, which ends when its parent does."""
    parent = multiprocessing.parent_process()
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    if setup:
        setup[0](*setup[1:])


def _end_with(parent):
    parent.join()
    os._exit(1)


def _on_cluster(function, items, address):
    try:
        from distributed import Client, as_completed
    except ImportError as err:
        raise InputError(
            "a Dask cluster needs the package distributed; install msa3d-steps[dask]"
        ) from err
    try:
        client = Client(address, timeout=WAIT, set_as_default=False)
    except (OSError, ValueError) as err:
        raise InputError(
            f"no Dask scheduler answers at {address} ({err}); start one or mend dask_scheduler"
        ) from err
    with client:
        _check_cluster(client)
        environment = {k: v for k, v in os.environ.items() if k.startswith("CRDS_")}
        futures = {
            client.submit(_on_worker, function, item, environment, pure=False): item
            for item in items
        }
        try:
            for future in as_completed(futures, loop=client.loop):
                error = future.exception() if future.status == "error" else None
                if error is not None:  # not the task's own: that is in the outcome
                    error = WorkerLost(f"its worker was lost ({type(error).__name__})")
                    yield Outcome(futures[future], error=error)
                else:
                    outcome = future.result()
                    yield Outcome(futures[future], outcome.result, outcome.error)
                future.release()
        except BaseException:
            client.cancel(list(futures))
            raise


def _check_cluster(client):
    """Make sure that the workers have this version of this package."""
    versions = client.run(_version)
    if not versions:
        log.info("The cluster has no workers yet; waiting for them")
    for worker, version in versions.items():
        if version != __version__:
            raise InputError(
                f"the Dask worker {worker} has msa3d_steps {version}, this is {__version__}; "
                "give all workers the same environment"
            )


def _version():
    return __version__


_one_at_a_time = threading.Lock()


def _on_worker(function, item, environment):
    """Do one task; jwst's logging and caches allow one at a time in a process."""
    with _one_at_a_time:
        os.environ.update(environment)
        return _outcome_to_send(function, item)
