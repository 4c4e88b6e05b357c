"""Threads that take the images of a batch, one pool for each number of threads."""

from __future__ import annotations

import functools
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor


@functools.cache
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, thread_name_prefix="leanline")


def at_fork(renew: Callable[[], object]) -> None:
    """Call ``renew`` in forked children: threads, and the locks they hold, are dead there."""
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=renew)


at_fork(_pool.cache_clear)

_team = threading.Lock()


def _renew_team() -> None:
    global _team
    _team = threading.Lock()


at_fork(_renew_team)


def each(count: int, threads: int, work: Callable[[int], None]) -> None:
    """Call ``work(i)`` for every i below ``count``, on up to ``threads`` threads.

    An exception of one call is raised after all calls have ended.
    """
    if threads == 1 or count <= 1:
        for index in range(count):
            work(index)
        return
    waiting = [_pool(threads).submit(work, index) for index in range(count)]
    problems = [problem for future in waiting if (problem := future.exception())]
    if problems:
        raise problems[0]


def together(threads: int, work: Callable[[int], None], give_up: Callable[[], object]) -> None:
    """Call ``work(i)`` for every i below ``threads`` at the same time, each on its own thread.

    One team at a time: members wait for each other, and two teams that had half of the threads
    each would wait for ever. An exception of one call (or Ctrl-C) calls ``give_up``, that the
    others may not wait for it, and is raised after all calls have ended.
    """
    waiting = []

    def member(index: int) -> None:
        try:
            work(index)
        except BaseException:
            give_up()
            raise

    with _team:
        try:
            for index in range(1, threads):
                waiting.append(_pool(threads).submit(member, index))
            work(0)
        except BaseException:
            give_up()
            raise
        finally:
            problems = [problem for future in waiting if (problem := future.exception())]
        if problems:
            raise problems[0]
