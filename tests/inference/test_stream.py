"""Reading, computing and writing in turn: order, bounds, errors, interrupts."""

import threading
import time

import pytest

from leanline.inference.stream import DEPTH, Steps, Times, stream


class Recorder:
    def __init__(self, fail=None, slow_write=0.0):
        self.fail, self.slow_write = fail or {}, slow_write
        self.read_count, self.written, self.flushed = 0, [], 0
        self.ahead = 0

    def step(self, name, job):
        if self.fail.get(name) == job:
            raise self.fail.get("error", ValueError)(f"{name} {job}")

    def read(self, job):
        self.read_count += 1
        self.ahead = max(self.ahead, self.read_count - len(self.written))
        self.step("read", job)
        return job

    def compute(self, job, given):
        self.step("compute", job)
        return 10 * given

    def write(self, job, made):
        time.sleep(self.slow_write)
        self.step("write", job)
        assert made == 10 * job
        self.written.append(job)

    def flush(self):
        self.flushed = len(self.written)

    def run(self, count):
        times = Times()
        stream(range(count), Steps(self.read, self.compute, self.write, self.flush), times)
        return times


def threads():
    return {thread for thread in threading.enumerate() if thread.name.startswith("leanline-")}


def test_all_jobs_in_order():
    recorder = Recorder()
    times = recorder.run(50)
    assert recorder.written == list(range(50))
    assert recorder.flushed == 50
    assert times.seconds > 0
    assert not threads()


def test_no_job():
    recorder = Recorder()
    recorder.run(0)
    assert recorder.flushed == 0


def test_a_slow_writer_holds_the_reader_back():
    recorder = Recorder(slow_write=0.005)
    times = recorder.run(40)
    assert recorder.ahead <= 2 * DEPTH + 3  # waiting twice, and one in each hand
    assert times.waited_for_write > 0


@pytest.mark.parametrize("where", ["read", "compute"])
def test_what_is_before_an_error_is_written(where):
    recorder = Recorder({where: 7})
    with pytest.raises(ValueError, match=f"{where} 7"):
        recorder.run(20)
    assert recorder.written == list(range(7))
    assert recorder.flushed == 7
    assert not threads()


def test_an_error_in_writing_ends_all():
    recorder = Recorder({"write": 3})
    with pytest.raises(ValueError, match="write 3"):
        recorder.run(1000)
    assert recorder.written == [0, 1, 2]
    assert recorder.read_count < 20
    assert not threads()


def test_an_interrupt_leaves_what_is_done():
    recorder = Recorder({"compute": 5, "error": KeyboardInterrupt})
    with pytest.raises(KeyboardInterrupt):
        recorder.run(100)
    assert recorder.written == recorder.flushed * [None] or recorder.written == list(range(5))
    assert recorder.flushed == 5
    assert not threads()
