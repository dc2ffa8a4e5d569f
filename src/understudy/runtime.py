"""Settings of the machine under which small networks are fast on a CPU. Nothing is touched on import."""

from __future__ import annotations

import ctypes
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

import torch

__all__ = ["tuned"]

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # <malloc.h>
_ACCURATE = 2e-6  # relative error of a product of 256-long rows in float32; bfloat16 would give 2e-3


@contextmanager
def tuned(threads: int = 1) -> Iterator[None]:
    """Fast settings within the block, as before behind it.

    - `threads` for operations: one is best for networks of a few hundred units, two only wait for each other.
    - float32 matrix products through oneDNN, where it keeps float32's accuracy on this machine; whether it
      does is measured once, and depends on nothing else, so that equal machines give equal results.
    - glibc keeps freed memory up to 32 MB a piece, instead of asking the system for new pages on every
      temporary of more than 128 kB. This stays behind the block: glibc cannot say what it was.

    Raises:
        ValueError: when `threads` is less than 1.
    """
    if threads < 1:
        raise ValueError(f"threads is {threads}; it must be at least 1")
    before = torch.get_num_threads(), torch.get_float32_matmul_precision()
    _keep_memory()
    torch.set_num_threads(threads)
    torch.set_float32_matmul_precision("medium" if _medium_is_accurate() else "highest")
    try:
        yield
    finally:
        torch.set_num_threads(before[0])
        torch.set_float32_matmul_precision(before[1])


@cache
def _keep_memory() -> bool:
    """Whether glibc took both thresholds."""
    if platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    return bool(mallopt(_MMAP_THRESHOLD, 32 << 20)) and bool(mallopt(_TRIM_THRESHOLD, 256 << 20))


@cache
def _medium_is_accurate() -> bool:
    """Whether products at precision "medium" are as exact as float32's.

    "medium" allows bfloat16 inside. Processors without units for it compute in float32, through a library
    that is faster than the default on some; those with such units (AMX, AVX-512 BF16) lose three digits.
    """
    before = torch.get_float32_matmul_precision()
    generator = torch.Generator().manual_seed(0)
    torch.set_float32_matmul_precision("medium")
    try:
        for rows in (1, 64, 1024):  # libraries choose another kernel for another size
            a = torch.randn(rows, 256, generator=generator)
            b = torch.randn(256, 256, generator=generator)
            exact = a.double() @ b.double()
            if float((a @ b - exact).abs().max() / exact.abs().max()) > _ACCURATE:
                return False
        return True
    finally:
        torch.set_float32_matmul_precision(before)
