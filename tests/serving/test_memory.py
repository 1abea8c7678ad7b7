from __future__ import annotations

import ctypes
import subprocess
import sys

import pytest

_SCRIPT = """
import ctypes, sys
from serving.memory import give_back_what_is_large

def resident():
    return int(open("/proc/self/statm").read().split()[1]) * 4096

def block(size):
    place = libc.malloc(size)
    ctypes.memset(place, 1, size)
    return place

libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
libc.malloc.argtypes, libc.free.argtypes = [ctypes.c_size_t], [ctypes.c_void_p]
if sys.argv[1] == "settled":
    give_back_what_is_large()
libc.free(block(30 << 20))  # from now on glibc holds 30 MB to be small
before = resident()
blocks = [block(25 << 20) for _ in range(4)]
on_top = block(1 << 20)
for place in blocks:
    libc.free(place)
print((resident() - before) >> 20)
"""


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallopt"), reason="there is no glibc")
def test_large_blocks_go_back_to_the_system():
    def kept(how):
        command = [sys.executable, "-c", _SCRIPT, how]
        return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)

    assert kept("as it is") > 50
    assert kept("settled") < 5
