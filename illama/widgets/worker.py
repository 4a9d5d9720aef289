"""The one thread in which the widgets of a process wait for the host.

Knows: coroutines, how to stop them, how to wait for them. Does not know: widgets, hosts.

The thread has an event loop. It is started by the first activity and ends after the last one.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from typing import Any, Generic, TypeVar

T = TypeVar("T")

NAME = "illama-widgets"

_lock = threading.Lock()
_loop: asyncio.AbstractEventLoop | None = None
_thread: threading.Thread | None = None
_activities = 0


class Activity(Generic[T]):
    """A coroutine at work in the widgets' thread. `result` holds what became of it: None if it was cancelled.

    `after` is called there with the task that has ended, before anybody who waits goes on.
    """

    def __init__(
        self, work: Coroutine[Any, Any, T], after: Callable[[asyncio.Task[T]], None] = lambda task: None
    ) -> None:
        self.result: Future[T | None] = Future()
        self._after = after
        self._work = work
        self._task: asyncio.Task[T] | None = None
        self._loop = _enter(self._begin)

    @property
    def over(self) -> bool:
        """Whether it has come to its end."""
        return self.result.done()

    def cancel(self) -> None:
        """Cancel it, from any thread. It may take a moment, and may still return something."""
        with contextlib.suppress(RuntimeError):  # it has just ended, and the loop with it
            if not self.over:
                self._loop.call_soon_threadsafe(self._cancel)

    def wait(self, timeout: float | None = None) -> T | None:
        """Block until it has ended and return what it returned, or raise what it raised.

        Raises RuntimeError in the widgets' own thread, which would wait for itself.
        """
        if here():
            raise RuntimeError("An observer of a widget's trait cannot wait for a widget: both are in one thread.")
        return self.result.result(timeout)

    def _begin(self) -> None:
        self._task = asyncio.get_running_loop().create_task(self._work)
        self._task.add_done_callback(self._end)

    def _cancel(self) -> None:
        if self._task is not None:
            self._task.cancel()

    def _end(self, task: asyncio.Task[T]) -> None:
        try:
            self._after(task)
            if task.cancelled():
                self.result.set_result(None)
            elif (problem := task.exception()) is not None:
                self.result.set_exception(problem)
            else:
                self.result.set_result(task.result())
        finally:
            _leave()


def here() -> bool:
    """Whether this is the widgets' own thread."""
    return threading.current_thread() is _thread


def _enter(begin: Callable[[], None]) -> asyncio.AbstractEventLoop:
    """Have `begin` called in the thread, started if need be."""
    global _loop, _thread, _activities
    with _lock:
        if _loop is None:
            _loop = asyncio.new_event_loop()
            _thread = threading.Thread(target=_run, args=(_loop,), name=NAME, daemon=True)
            _thread.start()
        _activities += 1
        _loop.call_soon_threadsafe(begin)
        return _loop


def _leave() -> None:
    global _loop, _activities
    with _lock:
        _activities -= 1
        if _activities == 0 and _loop is not None:
            _loop.call_soon(_loop.stop)
            _loop = None


def _run(loop: asyncio.AbstractEventLoop) -> None:
    asyncio.set_event_loop(loop)
    try:
        loop.run_forever()
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.run_until_complete(loop.shutdown_default_executor())
    finally:
        loop.close()
