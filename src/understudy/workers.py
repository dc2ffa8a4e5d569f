"""Processes that stay and work on one thread each: a job goes out once, then items; results come in order."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import pickle
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Generator, Iterator, Sequence
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any, Protocol, TypeVar

__all__ = ["ItemError", "Job", "Workers"]

Item = TypeVar("Item", contravariant=True)
Result = TypeVar("Result", covariant=True)
T = TypeVar("T")
R = TypeVar("R")

_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS")
_HEAVY = ("torch", "mujoco", "gymnasium", "understudy.agent")  # loaded once for all workers, if at all


class Job(Protocol[Item, Result]):
    """Something to do for every item. It travels to each worker once, by pickle."""

    def __call__(self, item: Item, kept: dict[object, Any]) -> Result:
        """The result for one item; `kept` is the worker's own, and lasts as long as the worker."""
        ...


class ItemError(Exception):
    """A job failed on an item: `index` says which, `error` what, as far as that can travel."""

    def __init__(self, index: int, error: BaseException) -> None:
        super().__init__(f"item {index}: {type(error).__name__}: {error}")
        self.index, self.error = index, error


class Workers:
    """A fixed number of processes that start at the first use and end with `close`.

    A worker ignores Ctrl-C, which is for the parent to answer: whatever stops `map` early ends the workers.
    A worker whose parent is gone ends too, however it went. One worker is this process itself.

    Raises:
        ValueError: when count < 1, or on use after `close`.
    """

    def __init__(self, count: int) -> None:
        if count < 1:
            raise ValueError(f"workers is {count}; at least 1 is needed")
        self.count = count
        self.kept: dict[object, Any] = {}  # of this process, where it is the worker
        self._links: list[_Link] = []
        self._closed = False

    def __enter__(self) -> Workers:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Ends every worker; closing again does nothing."""
        self._closed = True
        links, self._links = self._links, []
        for link in links:
            link.ask_to_end()
        for link in links:
            link.end()
        _close_all(self.kept)

    def map(self, job: Job[T, R], items: Sequence[T]) -> Generator[R, None, None]:
        """The results in the order of `items`, each as soon as it and all before it are there.

        Raises:
            ItemError: for the first item, in their order, on which the job failed.
        """
        if self._closed:
            raise ValueError("the workers have been ended; open others")
        if self.count == 1:
            yield from self._here(job, items)
            return
        try:
            payload = pickle.dumps((job, _torch_settings()))
        except (pickle.PicklingError, AttributeError, TypeError) as e:
            raise ValueError(f"with several workers everything must travel by pickle, but {e}") from None
        if not self._links:
            self._links = _start(self.count)
        finished = False
        try:
            yield from _spread(self._links, payload, items)
            finished = True
        except ItemError:
            finished = True  # the others have been waited for: the workers are idle and stay
            raise
        finally:
            if not finished:
                self.close()

    def _here(self, job: Job[T, R], items: Sequence[T]) -> Iterator[R]:
        for index, item in enumerate(items):
            try:
                result = job(item, self.kept)
            except Exception as e:
                raise ItemError(index, e) from e
            yield result


def _spread(links: list[_Link], payload: bytes, items: Sequence[Any]) -> Iterator[Any]:
    used = links[: len(items)]
    for link in used:
        link.send(payload)
    idle, todo = list(used), iter(enumerate(items))
    done: dict[int, Any] = {}
    failed: list[ItemError] = []
    busy: list[_Link] = []
    upto = 0
    while True:
        while idle and not failed and (task := next(todo, None)) is not None:
            link = idle.pop()
            link.send(task)
            busy.append(link)
        while upto in done:
            yield done.pop(upto)
            upto += 1
        if not busy:
            break
        for link in _ready(busy):
            index, result, error = link.receive()
            busy.remove(link)
            idle.append(link)
            if error is None:
                done[index] = result
            else:
                failed.append(ItemError(index, error))
    if failed:
        # Items go out in their order, so every one before the first failure has been done, as with one.
        first = min(failed, key=lambda e: e.index)
        raise first from first.error


def _ready(busy: list[_Link]) -> list[_Link]:
    by_pipe = {link.pipe: link for link in busy}
    return [by_pipe[pipe] for pipe in wait(list(by_pipe)) if isinstance(pipe, Connection)]


class _Link:
    """One worker, seen from the parent."""

    def __init__(self, process: BaseProcess, pipe: Connection) -> None:
        self.process, self.pipe = process, pipe

    def send(self, message: object) -> None:
        try:
            self.pipe.send(message)
        except OSError:
            raise self._died() from None

    def receive(self) -> tuple[int, Any, BaseException | None]:
        try:
            index, result, error = self.pipe.recv()
        except (EOFError, OSError):
            raise self._died() from None
        return int(index), result, error

    def _died(self) -> RuntimeError:
        self.process.join(5)
        return RuntimeError(
            f"a worker process ended by itself (exit code {self.process.exitcode}); "
            "does the script keep its work under `if __name__ == '__main__':`?"
        )

    def ask_to_end(self) -> None:
        with contextlib.suppress(OSError):
            self.pipe.send(None)
        self.pipe.close()

    def end(self) -> None:
        self.process.join(0.5)  # an idle worker is gone by then; one in the middle of an item is not awaited
        for stop in (self.process.terminate, self.process.kill):
            if self.process.exitcode is None:
                stop()
                self.process.join(2)
        self.process.close()


@contextlib.contextmanager
def _starting() -> Iterator[None]:
    """What a starting worker must inherit: one thread, and deafness to Ctrl-C from its first moment."""
    before = {k: os.environ.get(k) for k in _THREADS}
    os.environ.update(dict.fromkeys(_THREADS, "1"))
    main = threading.current_thread() is threading.main_thread()
    handler = signal.signal(signal.SIGINT, signal.SIG_IGN) if main else None
    try:
        yield
    finally:
        if main:
            signal.signal(signal.SIGINT, handler)
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _start(count: int) -> list[_Link]:
    # Not plain fork: a copy of a process whose libraries have started threads can hang.
    methods = multiprocessing.get_all_start_methods()
    context: Any = multiprocessing.get_context("forkserver" if "forkserver" in methods else "spawn")
    if "forkserver" in methods:
        context.set_forkserver_preload(["understudy.workers", *(m for m in _HEAVY if m in sys.modules)])
    links: list[_Link] = []
    with _starting():
        for _ in range(count):
            ours, theirs = context.Pipe()
            process = context.Process(target=_work, args=(theirs,), daemon=True)
            process.start()
            theirs.close()
            links.append(_Link(process, ours))
    return links


def _work(pipe: Connection) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    kept: dict[object, Any] = {}
    job: Callable[[Any, dict[object, Any]], Any] | None = None
    broken: BaseException | None = None
    with contextlib.suppress(EOFError, OSError):
        while (message := pipe.recv()) is not None:
            if isinstance(message, bytes):
                job, broken = None, None
                try:
                    job, settings = pickle.loads(message)
                    _use_torch_settings(settings)
                except Exception as e:
                    broken = e
                continue
            index, item = message
            answer: tuple[int, Any, BaseException | None]
            try:
                if job is None:
                    raise broken or RuntimeError("no job was sent")
                answer = (index, job(item, kept), None)
            except Exception as e:
                answer = (index, None, _travelling(e))
            pipe.send(answer)
    _close_all(kept)


def _end_with_parent() -> None:
    """Ends this worker, also in the middle of an item, when the process that started it is gone."""
    if (parent := multiprocessing.parent_process()) is not None:
        parent.join()
        os._exit(1)


def _travelling(error: Exception) -> BaseException:
    """The error, with its traceback as a note; in words where it cannot be pickled."""
    trace = "".join(traceback.format_exception(error))
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        error = RuntimeError(f"{type(error).__name__}: {error}")
    error.__traceback__ = None
    error.add_note(f"In a worker process:\n{trace}")
    return error


def _torch_settings() -> str | None:
    """How this process multiplies matrices: a worker must do likewise, to the last bit."""
    torch: Any = sys.modules.get("torch")
    return None if torch is None else str(torch.get_float32_matmul_precision())


def _use_torch_settings(precision: str | None) -> None:
    torch: Any = sys.modules.get("torch")  # loaded by now if the job needs it, and never loaded here
    if torch is not None and precision is not None:
        torch.set_num_threads(1)
        torch.set_float32_matmul_precision(precision)


def _close_all(kept: dict[object, Any]) -> None:
    for value in kept.values():
        if callable(close := getattr(value, "close", None)):
            close()
    kept.clear()
