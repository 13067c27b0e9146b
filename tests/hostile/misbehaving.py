"""Targets that misbehave, one way each; what becomes of them stands in ``tests/test_candidates_hostile.py``."""

import atexit
import builtins
import contextlib
import ctypes
import gc
import mmap
import os
import random
import re
import resource
import signal
import sys
import tempfile
import threading
import time
import types
from decimal import Decimal
from pathlib import Path

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


def daemon(environment=None):
    """A sleeper in a session of its own, without our pipes and (if none is given) our environment, its parents ended."""
    child = os.fork()
    if child:
        os.waitpid(child, 0)
        return
    os.setsid()
    if os.fork() == 0:
        os.closerange(0, 256)
        os.execve("/bin/sleep", ["sleep", "61.25"], environment or {})
    os._exit(0)


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


def takes_all_memory_in_a_child(x):
    if os.fork() == 0:
        takes_all_memory(x)
    while True:
        time.sleep(1)


def shares_all_memory(x):
    kept = []
    while True:
        kept.append(mmap.mmap(-1, 2**25))  # shared, and of no file
        kept[-1].write(b"x" * 2**25)
        time.sleep(0.002)


def kills_its_parent(x):
    os.kill(os.getppid(), signal.SIGKILL)
    time.sleep(30)


def kills_its_parent_and_leaves_a_daemon(x):
    daemon(dict(os.environ))
    kills_its_parent(x)


def kills_its_group(x):
    os.killpg(0, signal.SIGKILL)


def is_told_of_a_bad_division(x):
    os.kill(os.getpid(), signal.SIGFPE)
    time.sleep(30)


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


def stops_its_group(x):
    os.killpg(0, signal.SIGSTOP)
    return sound(x)


def blocks_every_signal(x):
    signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    while True:
        time.sleep(1)


def locks_forever(x):
    lock = threading.Lock()
    lock.acquire()
    lock.acquire()


def joins_a_thread_that_never_ends(x):
    thread = threading.Thread(target=threading.Event().wait)
    thread.start()
    thread.join()


def reads_a_pipe_that_nobody_writes(x):
    os.read(os.pipe()[0], 1)


def matches_forever(x):
    re.fullmatch(r"(a+)+b", "a" * 60)


def waits_with_a_daemon(x):
    daemon()
    while True:
        time.sleep(1)


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


class Endless:
    """A sequence without an end."""

    def __len__(self):
        return 2**62

    def __getitem__(self, place):
        return 0.5


LongName = type("\x1b[2J\n::error::" + "x" * 2**20, (), {})


class Sneaky(Exception):
    def __str__(self):
        return "\ud800\x1b[31m\n::error file=a::b" + "y" * 2**20


def returns_bytes(x):
    return sound(x).tobytes()


def returns_nan_text(x):
    return "nan"


def returns_set(x):
    return {1.0, 2.0}


def returns_itself(x):
    return returns_itself


def returns_module(x):
    return np


def returns_endless(x):
    return Endless()


def returns_long_name(x):
    return LongName()


def returns_strings(x):
    return np.array([["a", "b"]])


def returns_timedeltas(x):
    return np.zeros(3, "m8[s]")


def returns_coroutine(x):
    async def later():
        return sound(x)

    made = later()
    made.close()
    return made


def returns_decimals(x):
    return [Decimal("0.5")] * 6


def returns_nested(x):
    made = []
    for _ in range(100_000):
        made = [made]
    return made


def returns_ragged(x):
    return [[1.0], [1.0, 2.0]]


def returns_cycle(x):
    made = []
    made.append(made)
    return made


def raises_a_sneaky_message(x):
    raise Sneaky


def raises_a_long_chain(x):
    error = None
    for number in range(3000):
        new = ValueError(str(number))
        new.__cause__ = error
        error = new
    raise error


def raises_stop_iteration(x):
    raise StopIteration(3)


def raises_generator_exit(x):
    raise GeneratorExit


def raises_a_usage_error(x):
    from xent_verify.core.failures import UsageError

    raise UsageError("not of the target's making")


def raises_a_memory_error(x):
    raise MemoryError


def raises_a_class_with_no_name(x):
    raise type("", (Exception,), {})


# right answers with something beside


def prints(x):
    print("hello from the target")
    os.write(1, b"and from below\n")
    os.write(2, b"and to stderr\n")
    return sound(x)


def prints_without_measure(x):
    block, largest = b"x" * 2**20, 0
    for _ in range(400):
        os.write(1, block)
        largest = max(largest, os.fstat(1).st_blocks * 512)
    if largest > 300 * 2**20:
        raise MemoryError(f"{largest} bytes were kept")
    return sound(x)


def leaves_a_daemon(x):
    daemon()
    return sound(x)


def leaves_many_daemons(x):
    for _ in range(8):
        daemon()
    return sound(x)


def interrupts_its_parent(x):
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGALRM):
        os.kill(os.getppid(), number)
    return sound(x)


def stops_its_parent(x):
    os.kill(os.getppid(), signal.SIGSTOP)
    return sound(x)


def leaves_its_session(x):
    if os.getpgid(0) == os.getpid() and os.fork() == 0:
        os.setsid()
        time.sleep(61)
        os._exit(0)
    return sound(x)


def leaves_zombies(x):
    for _ in range(20):
        if os.fork() == 0:
            os._exit(0)
    return sound(x)


def changes_its_environment(x):
    os.environ.clear()
    return sound(x)


def closes_its_stdin(x):
    with contextlib.suppress(OSError):
        os.close(0)
    return sound(x)


def replaces_the_streams(x):
    sys.stdout = sys.stderr = sys.__stdout__ = object()
    return sound(x)


def registers_an_exit(x):
    atexit.register(time.sleep, 61)
    return sound(x)


def sets_an_alarm(x):
    signal.signal(signal.SIGALRM, signal.SIG_IGN)
    signal.setitimer(signal.ITIMER_REAL, 0.001)
    return sound(x)


def traces_everything(x):
    sys.settrace(lambda *_: None)
    return sound(x)


def collects_no_garbage(x):
    gc.disable()
    gc.set_threshold(0)
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


# later than the answer, and below it


def replaces_modules(x):
    answer = sound(x)
    for name in ("numpy", "os", "json", "struct", "select", "signal", "xent_verify.candidates.codec"):
        sys.modules[name] = types.ModuleType(name)
    return answer


def forgets_modules(x):
    answer = sound(x)
    sys.modules.clear()
    return answer


def lies_about_comparisons(x):
    answer = sound(x)
    np.array_equal = np.isnan = np.isfinite = np.shares_memory = np.may_share_memory = lambda *_, **__: True
    x[...] = 0
    return answer


def stops_the_clocks(x):
    time.monotonic = time.time = time.perf_counter = lambda: 0.0
    time.sleep = lambda _: None
    return sound(x)


def breaks_builtins(x):
    answer = sound(x)
    builtins.len = builtins.isinstance = lambda *_: 3
    return answer


def rounds_towards_zero(x):
    ctypes.CDLL(None).fesetround(0xC00)
    return sound(x)


def removes_its_directory(x):
    folder = tempfile.mkdtemp(dir="/tmp")
    os.chdir(folder)
    Path(folder).rmdir()
    return sound(x)


def writes_for_ever(x):
    def write():
        while True:
            os.write(1, b"x" * 4096)

    threading.Thread(target=write, daemon=True).start()
    return sound(x)


def ends_hard_at_exit(x):
    atexit.register(os._exit, 9)
    return sound(x)


def forks_many(x):
    for _ in range(60):
        if os.fork() == 0:
            signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
            os.setsid()
            while True:
                time.sleep(1)
    return sound(x)


class Twice(np.ndarray):
    """Another array each time that it is asked for."""

    def __array__(self, dtype=None, copy=None):
        return np.random.default_rng().random(3)


class Duck:
    """Names that no array has together."""

    dtype = np.dtype("f4")
    shape = (2**40,)
    itemsize = nbytes = -1

    def __array__(self, dtype=None, copy=None):
        raise AttributeError("dtype")


class Unfinished(np.ndarray):
    def __array_finalize__(self, other):
        if other is not None:
            raise OSError("not finished")


class Vengeful(np.ndarray):
    def __del__(self):
        os._exit(5)


def returns_twice(x):
    return sound(x).view(Twice)


def returns_duck(x):
    return Duck()


def returns_unfinished(x):
    made = np.ndarray.__new__(Unfinished, x.shape, x.dtype)
    made[...] = sound(x)
    return made


def returns_vengeful(x):
    return sound(x).view(Vengeful)


def changes_its_answer_later(x):
    answer = sound(x)

    def change():
        while True:
            answer[...] = -1
            time.sleep(0.001)

    threading.Timer(0.01, change).start()
    return answer


def returns_a_file_that_shrinks(x):
    with tempfile.TemporaryFile(dir="/tmp") as file:
        file.write(b"\0" * 8192)
        file.flush()
        answer = np.memmap(file, np.float32, "r+", shape=(2, 1024))
        os.ftruncate(file.fileno(), 0)
    return answer


def raises_later(x):
    def late(*_):
        raise ValueError("later")

    signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, 0.05, 0.001)
    return sound(x)


def raises_from_a_thread(x):
    main = threading.get_ident()

    def strike():
        while True:
            ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(main), ctypes.py_object(SystemExit))
            time.sleep(0.001)

    threading.Thread(target=strike, daemon=True).start()
    return sound(x)


def refuses_every_event(x):
    answer = sound(x)

    def hook(event, _):
        raise PermissionError(event)

    sys.addaudithook(hook)
    return answer


def opens_no_more_files(x):
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, 3))
    return sound(x)


def limits_its_processor_time(x):
    resource.setrlimit(resource.RLIMIT_CPU, (1, 1))
    while True:
        pass


def turns_every_pipe_to_stdout(x):
    for fd in range(3, 64):
        with contextlib.suppress(OSError):
            os.fstat(fd)
            os.dup2(1, fd)
    return sound(x)


def has_no_signature(x):
    return sound(x)


has_no_signature.__name__ = has_no_signature.__qualname__ = "\x1b[2J\n::error::"
has_no_signature.__doc__ = "\x1b]0;title\x07" * 1000
has_no_signature.__signature__ = "f(x, /"


class Evasive:
    """Every attribute that is looked up is an error of its own."""

    def __getattribute__(self, name):
        raise LookupError(f"\x1b[31m{name}")

    def __call__(self, x):
        return sound(x)


is_evasive = Evasive()
