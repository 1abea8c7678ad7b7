from __future__ import annotations

import ctypes
import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallopt"), reason="there is no glibc")

_BLOCKS = """
import ctypes, resource, sys, threading
from zoo import memory

def resident():
    return int(open("/proc/self/statm").read().split()[1]) * 4096

def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

def block(size):
    place = libc.malloc(size)
    ctypes.memset(place, 1, size)
    return place

libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
libc.malloc.argtypes, libc.free.argtypes = [ctypes.c_size_t], [ctypes.c_void_p]
how = sys.argv[1].split()
if "load" in how:
    from serving.model import load
    from serving.settings import Settings

    load(Settings(how[1]))
if "loading" in how:
    memory.for_loading()
if "serving" in how:
    memory.for_serving()
"""

_LARGE = """
libc.free(block(30 << 20))  # from now on glibc holds 30 MB to be small
before = resident()
blocks = [block(25 << 20) for _ in range(4)]
on_top = block(1 << 20)
for place in blocks:
    libc.free(place)
print((resident() - before) >> 20)
"""

_PICTURES = """
def pictures():
    for size in (4 * 640 * 480, 4 * 1600 * 1200) * 2:
        libc.free(block(size))
    before = faults()
    for _ in range(10):
        libc.free(block(4 * 640 * 480))
        libc.free(block(4 * 1600 * 1200))
    print(faults() - before)

thread = threading.Thread(target=pictures)  # which has a heap of its own
thread.start()
thread.join()
"""


def measured(script, how):
    command = [sys.executable, "-c", _BLOCKS + script, how]
    return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def test_large_blocks_go_back_to_the_system():
    assert measured(_LARGE, "as it is") > 50
    assert measured(_LARGE, "loading") < 5
    assert measured(_LARGE, "loading serving") < 5


def test_a_thread_keeps_what_it_decodes_in():
    assert measured(_PICTURES, "loading") > 10_000  # pages of 4 KiB that the system cleared
    assert measured(_PICTURES, "loading serving") < 100


def test_a_service_does_both(bundle):
    assert measured(_LARGE, f"load {bundle.path}") < 5
    assert measured(_PICTURES, f"load {bundle.path}") < 100
