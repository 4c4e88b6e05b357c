import gc
import threading

import numpy as np

from leanline.kernels.buffers import Pool


def test_a_buffer_comes_back_when_the_last_array_is_gone() -> None:
    pool = Pool()
    first = pool.borrow("a", 100)
    place = first.ctypes.data
    assert place % 64 == 0
    assert not first.any()
    first[3] = 1
    second = pool.borrow("a", 100)
    assert second.ctypes.data != place
    del first
    gc.collect()
    again = pool.borrow("a", 100)
    assert again.ctypes.data == place
    assert again[3] == 1
    assert pool.borrow("b", 100).ctypes.data != place


def test_keeps_to_its_limit_and_drops_what_was_used_longest_ago() -> None:
    pool = Pool(limit=3 * 4 * 116)
    for key in "abcd":
        pool.borrow(key, 100)
    assert pool.held == 3 * 4 * 116
    kept = pool.borrow("d", 100)
    assert pool.held == 2 * 4 * 116
    del kept
    huge = pool.borrow("e", 10_000)
    del huge
    assert pool.held <= 3 * 4 * 116


def test_many_threads() -> None:
    pool = Pool()
    problems = []

    def work(mark: int) -> None:
        for _ in range(200):
            mine = pool.borrow("a", 64)
            mine[:] = mark
            other = pool.borrow("a", 64)
            other[:] = -1
            if not np.all(mine == mark):
                problems.append(mark)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not problems
