"""Ctrl-C stops a command wherever it strikes."""

import os
import signal
import threading
import time
import weakref

import pytest

from leanline.cli.interrupts import insistent_interrupts


class Thing:
    pass


def strike():
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(0.001)  # Python handles the signal here


def test_an_interrupt_in_a_finalizer_is_raised_after_it():
    thing = Thing()
    weakref.finalize(thing, strike).atexit = False
    with pytest.raises(KeyboardInterrupt), insistent_interrupts():
        del thing
        time.sleep(5)
        pytest.fail("the interrupt was lost")


def test_an_interrupt_that_is_swallowed_comes_again():
    seen = []
    with pytest.raises(KeyboardInterrupt), insistent_interrupts():
        try:
            strike()
        except KeyboardInterrupt:
            seen.append("swallowed")
        time.sleep(10)
    assert seen == ["swallowed"]


def test_nothing_is_left_behind():
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt), insistent_interrupts():
        strike()
    assert signal.getsignal(signal.SIGINT) is before
    time.sleep(1.2)  # no second one


def test_other_handlers_and_threads_are_left_alone():
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with insistent_interrupts():
            strike()
    finally:
        signal.signal(signal.SIGINT, before)
    ended = []

    def work():
        with insistent_interrupts():
            ended.append(True)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert ended == [True]
