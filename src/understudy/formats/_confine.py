"""Taking rights away from this process for good, where the kernel can (Linux 5.13 and later: Landlock)."""

from __future__ import annotations

import ctypes
import sys

__all__ = ["confine"]

# landlock(7): which accesses a rule set handles. What is handled and allowed by no rule is refused, and there
# are no rules here: nothing is executed, created, written, renamed or removed. Reading is not handled.
_CREATE_RULESET, _RESTRICT_SELF, _VERSION = 444, 446, 1
_EXECUTE, _WRITE_FILE, _REFER, _TRUNCATE = 1 << 0, 1 << 1, 1 << 13, 1 << 14
_REMOVE_AND_MAKE = sum(1 << bit for bit in range(4, 13))
_TCP = (1 << 0) | (1 << 1)  # bind, connect
_NO_NEW_PRIVILEGES = 38


class _Handled(ctypes.Structure):
    _fields_ = [("fs", ctypes.c_uint64), ("net", ctypes.c_uint64)]


def confine() -> bool:
    """From here on this process and its children execute, create, change and remove no file, and open no TCP
    connection. Gives whether the kernel obliged; an older one does not, which is no error."""
    if sys.platform != "linux":
        return False
    libc = ctypes.CDLL(None, use_errno=True)
    version = libc.syscall(_CREATE_RULESET, None, ctypes.c_size_t(0), _VERSION)
    if version < 1:
        return False
    handled = _Handled(_EXECUTE | _WRITE_FILE | _REMOVE_AND_MAKE, 0)
    handled.fs |= (_REFER if version >= 2 else 0) | (_TRUNCATE if version >= 3 else 0)
    handled.net = _TCP if version >= 4 else 0
    size = ctypes.c_size_t(16 if version >= 4 else 8)
    rules = libc.syscall(_CREATE_RULESET, ctypes.byref(handled), size, 0)
    if rules < 0 or libc.prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0):
        return False
    return bool(libc.syscall(_RESTRICT_SELF, rules, 0) == 0)
