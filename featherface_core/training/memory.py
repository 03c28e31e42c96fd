"""Memory that a CPU uses again and again: kept by the process, not given back to the system after each layer."""

import ctypes
import sys

# of glibc's malloc.h
M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_MAX = -1, -2, -4
MOST = 2**31 - 1
PAD = 64 * 2**20  # bytes by which the heap grows


def keep_memory() -> None:
    """Let glibc keep what is freed. By default it maps each large tensor anew, and the system clears its pages each time.

    Does nothing where the C library is another.
    """
    if sys.platform != "linux":
        return
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):  # musl has none
        return
    for option, value in ((M_MMAP_MAX, 0), (M_TRIM_THRESHOLD, MOST), (M_TOP_PAD, PAD)):
        mallopt(option, value)
