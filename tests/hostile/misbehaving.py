"""Targets that misbehave, one way each; what becomes of them stands in ``tests/test_candidates_hostile.py``."""

import ctypes
import os
import random
import signal
import sys
import threading
import time

import numpy as np


def sound(x):
    if not x.size:
        return np.empty_like(x)
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


class Unprintable(Exception):
    def __str__(self):
        raise ValueError("no message")


class Abrupt(BaseException):
    """Not even an Exception."""


class Explosive:
    """Every look at it ends the process."""

    def __array__(self, dtype=None, copy=None):
        sys.exit(3)


class Overflowing:
    @property
    def __array_interface__(self):
        return {"shape": (2**62, 2**62), "typestr": "<f4", "data": (0, True), "version": 3}


class Lying(np.ndarray):
    """An array that says it is another."""

    @property
    def shape(self):
        return (7, 7, 7)

    @property
    def nbytes(self):
        return -1


# exceptions and exits


def raises(x):
    raise RuntimeError("no")


def raises_unprintable(x):
    raise Unprintable


def raises_abruptly(x):
    raise Abrupt("now")


def raises_group(x):
    raise ExceptionGroup("several", [ValueError("one"), TypeError("two")])


def interrupts(x):
    raise KeyboardInterrupt


def exits(x):
    sys.exit(4)


def recurses(x):
    return recurses(x)


def asks_for_too_much(x):
    return np.empty(2**50)


# endings of the process


def exits_hard(x):
    os._exit(0)


def aborts(x):
    os.abort()


def reads_address_zero(x):
    return ctypes.string_at(0)


def kills_itself(x):
    os.kill(os.getpid(), signal.SIGKILL)


def closes_everything(x):
    os.closerange(3, 256)
    return sound(x)


def writes_into_everything(x):
    for fd in range(3, 64):
        try:
            os.write(fd, b"\xff" * 64)
        except OSError:
            continue
    return sound(x)


def leaves_a_child_and_aborts(x):
    if os.fork() == 0:
        time.sleep(30)
        os._exit(0)
    os.abort()


def takes_all_memory(x):
    kept = []
    while True:
        kept.append(np.ones(2**22))
        time.sleep(0.002)


# no answer


def loops(x):
    while True:
        pass


def refuses_to_end(x):
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGALRM, signal.SIGIO, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    while True:
        time.sleep(1)


def waits_in_c(x):
    ctypes.PyDLL(None).pause()


def stops_itself(x):
    os.kill(os.getpid(), signal.SIGSTOP)
    return sound(x)


def waits_with_a_child(x):
    if os.fork() == 0:
        signal.pause()
    while True:
        time.sleep(1)


# answers that are none


def returns_none(x):
    return None


def returns_text(x):
    return "0.5"


def returns_bool(x):
    return True


def returns_list(x):
    return sound(x).ravel().tolist()


def returns_generator(x):
    return (value for value in x)


def returns_dict(x):
    return {"p": sound(x)}


def returns_objects(x):
    return sound(x).astype(object)


def returns_complex(x):
    return sound(x).astype(complex)


def returns_masked(x):
    return np.ma.array(sound(x), mask=True)


def returns_records(x):
    return np.zeros(3, [("a", "f4"), ("b", "f4")])


def returns_dates(x):
    return np.zeros(3, "M8[s]")


def returns_explosive(x):
    return Explosive()


def returns_bad_interface(x):
    return Overflowing()


def returns_huge_view(x):
    return np.broadcast_to(np.float32(0), (2**20, 2**20))


def returns_huge_int(x):
    return 10**400


def returns_type(x):
    return np.float32


# right answers with something beside


def prints(x):
    print("hello from the target")
    os.write(1, b"and from below\n")
    os.write(2, b"and to stderr\n")
    return sound(x)


def floods(x):
    os.write(1, b"x" * 2**22)
    return sound(x)


def closes_stdout(x):
    sys.stdout.close()
    sys.stderr = None
    return sound(x)


def leaves_a_child(x):
    if os.fork() == 0:
        time.sleep(30)
        os._exit(0)
    return sound(x)


def comes_back_twice(x):
    os.fork()
    return sound(x)


def leaves_a_thread(x):
    threading.Thread(target=time.sleep, args=(30,)).start()
    return sound(x)


def lies_about_its_shape(x):
    return sound(x).view(Lying)


def breaks_numpy(x):
    answer = sound(x)
    np.exp = None
    np.zeros = None
    return answer


def writes_to_its_input(x):
    answer = sound(x)
    x[...] = 0
    return answer


_buffer = {}


def shares_a_buffer(x):
    out = _buffer.setdefault((x.shape, x.dtype), np.empty_like(x))
    out[...] = sound(x)
    return out


def returns_its_input(x):
    x[...] = sound(x)
    return x


def changes_error_state(x):
    np.seterr(all="raise")
    with np.errstate(all="ignore"):
        return sound(x)


def seeds_numpy(x):
    np.random.seed(0)
    return sound(x)


def seeds_python(x):
    random.seed(0)
    return sound(x)


def changes_directory(x):
    os.chdir("/")
    return sound(x)


def changes_recursion_limit(x):
    sys.setrecursionlimit(54321)
    return sound(x)
