"""The row kernels of ggml's CPU backend, which leave the last step to their caller."""

import ctypes
from pathlib import Path

import ggml
import numpy as np

_CPU = ctypes.CDLL(str(Path(ggml.__file__).parent / "lib" / "libggml-cpu.so"))
_ROW = np.ctypeslib.ndpointer(np.float32, ndim=1, flags="C_CONTIGUOUS")
for _kernel in (_CPU.ggml_vec_soft_max_f32, _CPU.ggml_vec_log_soft_max_f32):
    _kernel.argtypes, _kernel.restype = (ctypes.c_int, _ROW, _ROW, ctypes.c_float), ctypes.c_double


def softmax(x):
    y = np.empty_like(x)
    total = _CPU.ggml_vec_soft_max_f32(x.size, y, x, x.max())
    return y * np.float32(1 / total)


def log_softmax(x):
    y = np.empty_like(x)
    log_total = _CPU.ggml_vec_log_soft_max_f32(x.size, y, x, x.max())
    return y - np.float32(log_total)
