"""Time and concurrency of a history, in one thread and under one seed.

Everything that would be a thread in the server (a request, an operation, a reconciler's run) is a `Task`: a greenlet
that runs until it waits. Which one goes on next is the history's choice, so a history can be told again. Inside a
task the product's own clocks and locks are ours: `Illusion` puts them in place of the real ones.
"""

from __future__ import annotations

import datetime as real_datetime
import sys
import threading as real_threading
import time as real_time
import types
import uuid as real_uuid
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from random import Random
from typing import Any

import greenlet

from steelyard.errors import Unavailable
from steelyard.operations.runner import Interrupted


class Killed(Interrupted):
    """SIGKILL: nothing of this process goes on. Not an `Exception`, so that nothing takes it for an answer."""


@dataclass(eq=False)
class Task:
    """One thing that goes on in the server."""

    number: int
    name: str
    operation_id: str | None
    run: Callable[[], Any]
    wake_at: datetime
    result: Any = None
    error: BaseException | None = None
    ended: bool = False
    let: greenlet.greenlet = field(init=False)


class Tasks:
    """All tasks of one process, and the choice of which goes on."""

    def __init__(self, now: Callable[[], datetime]) -> None:
        self._now = now
        self._hub = greenlet.getcurrent()
        self._numbers = 0
        self.living: dict[greenlet.greenlet, Task] = {}

    def spawn(self, name: str, run: Callable[[], Any], *, operation_id: str | None = None) -> Task:
        self._numbers += 1
        task = Task(self._numbers, name, operation_id, run, self._now())

        def body() -> None:
            try:
                task.result = run()
            except BaseException as error:
                task.error = error
            task.ended = True

        task.let = greenlet.greenlet(body, parent=self._hub)
        self.living[task.let] = task
        return task

    def ready(self) -> list[Task]:
        """Those that could go on now, the oldest first."""
        now = self._now()
        return sorted((t for t in self.living.values() if t.wake_at <= now), key=lambda t: t.number)

    def go_on(self, task: Task) -> None:
        """Let it run until it waits or ends."""
        task.let.switch()
        if task.ended:
            self.living.pop(task.let, None)

    def current(self) -> Task | None:
        return self.living.get(greenlet.getcurrent())

    def pause(self, seconds: float) -> None:
        """Called by a task: the others may go on meanwhile."""
        task = self.current()
        assert task is not None, "only a task can wait"
        task.wake_at = self._now() + timedelta(seconds=seconds)
        self._hub.switch()

    def wake(self, operation_id: str) -> None:
        for task in self.living.values():
            if task.operation_id == operation_id:
                task.wake_at = self._now()

    def kill(self) -> list[Task]:
        """End all at the point where they wait."""
        killed = sorted(self.living.values(), key=lambda task: task.number)
        for task in killed:
            if task.let:  # it has begun, and has not ended
                task.let.throw(Killed())
        self.living.clear()
        return killed


class _Lock:
    """A lock between tasks: who waits for it lets the others go on."""

    def __init__(self, tasks: Callable[[], Tasks], *, again: bool) -> None:
        self._tasks = tasks
        self._again = again
        self._holder: object = None
        self._times = 0

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        me = greenlet.getcurrent()
        if self._again and self._holder is me:
            self._times += 1
            return True
        while self._holder is not None:
            if not blocking:
                return False
            if self._tasks().current() is None:  # a request from within the world, which cannot wait for us
                raise Unavailable("busy")
            self._tasks().pause(1.0)
        self._holder, self._times = me, 1
        return True

    def release(self) -> None:
        self._times -= 1
        if not self._times:
            self._holder = None

    def locked(self) -> bool:
        return self._holder is not None

    def __enter__(self) -> bool:
        return self.acquire()

    def __exit__(self, *_: object) -> None:
        self.release()


class _InLine(Executor):
    """Worker threads of a task: done one after the other, by the task itself."""

    def __init__(self, *_: Any, **__: Any) -> None:
        super().__init__()

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:
            future.set_exception(error)
        return future


class _Shim(types.ModuleType):
    """A module with some of its names replaced."""

    def __init__(self, real: types.ModuleType, **replaced: Any) -> None:
        super().__init__(real.__name__)
        self.__dict__.update(real.__dict__)
        self.__dict__.update(replaced)


EPOCH = datetime(2026, 1, 1, tzinfo=real_datetime.UTC)


@contextmanager
def illusion(
    now: Callable[[], datetime], tasks: Callable[[], Tasks], random: Random, *, stand_still: Callable[[float], None]
) -> Iterator[None]:
    """While it lasts, Steelyard's modules read the history's clock, wait by its tasks, and draw ids from its seed.

    `stand_still` lets so many seconds pass for a call from within the world, during which nothing else goes on.
    """

    class Kind(type):
        def __instancecheck__(cls, instance: object) -> bool:
            return isinstance(instance, real_datetime.datetime)

    class Datetime(real_datetime.datetime, metaclass=Kind):
        @classmethod
        def now(cls, tz: real_datetime.tzinfo | None = None) -> real_datetime.datetime:  # type: ignore[override]
            return now().astimezone(tz)

    def monotonic() -> float:
        return (now() - EPOCH).total_seconds()

    def sleep(seconds: float) -> None:
        if tasks().current() is not None:
            tasks().pause(seconds)
        else:
            stand_still(seconds)

    def uuid4() -> real_uuid.UUID:
        return real_uuid.UUID(int=random.getrandbits(128), version=4)

    shims = {
        real_time: _Shim(real_time, monotonic=monotonic, time=lambda: now().timestamp(), sleep=sleep),
        real_threading: _Shim(
            real_threading,
            Lock=lambda: _Lock(tasks, again=False),
            RLock=lambda: _Lock(tasks, again=True),
        ),
        real_uuid: _Shim(real_uuid, uuid4=uuid4),
    }
    undo: list[tuple[Any, str, Any]] = []

    def put(where: Any, name: str, value: Any) -> None:
        undo.append((where, name, getattr(where, name)))
        setattr(where, name, value)

    def ours(value: Any) -> Any:
        return monotonic if value is real_time.monotonic else sleep if value is real_time.sleep else value

    def defaults(function: Any) -> None:
        """`clock=time.monotonic` was read when the function was defined."""
        given, named = function.__defaults__ or (), function.__kwdefaults__ or {}
        if any(ours(value) is not value for value in given):
            put(function, "__defaults__", tuple(ours(value) for value in given))
        if any(ours(value) is not value for value in named.values()):
            put(function, "__kwdefaults__", {name: ours(value) for name, value in named.items()})

    for module in [m for name, m in list(sys.modules.items()) if name.startswith("steelyard")]:
        world = module.__name__.startswith("steelyard.clouds.fake")  # it has a lock and a clock of its own
        continue_with = {real_uuid: shims[real_uuid]} if world else shims
        for name, value in list(vars(module).items()):
            if isinstance(value, types.ModuleType) and value in continue_with:
                put(module, name, continue_with[value])
            elif value is ThreadPoolExecutor:
                put(module, name, _InLine)
            elif value is real_datetime.datetime and continue_with is shims:
                put(module, name, Datetime)
            elif isinstance(value, type) and value.__module__ == module.__name__:
                for member in vars(value).values():
                    if isinstance(member, types.FunctionType):
                        defaults(member)
            elif isinstance(value, types.FunctionType) and value.__module__ == module.__name__:
                defaults(value)
    try:
        yield
    finally:
        for where, name, value in reversed(undo):
            setattr(where, name, value)
