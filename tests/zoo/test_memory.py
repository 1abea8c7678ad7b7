"""What glibc gives back, the system clears before it is given out again: page faults tell."""

from __future__ import annotations

import ctypes
import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or not hasattr(ctypes.CDLL(None), "mallopt"), reason="there is no glibc"
)

_SCRIPT = """
import ctypes, resource, sys
import numpy as np
import torch
from training.build import preprocessing_of
from training.data import Split, evaluation_batches, training_batches
from training.recipe import load_recipe
from zoo import memory

libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
libc.malloc.argtypes, libc.free.argtypes = [ctypes.c_size_t], [ctypes.c_void_p]

def step():  # of a model whose feature maps are larger than 32 MiB
    places = [libc.malloc(size << 20) for size in (40, 80)]
    for place, size in zip(places, (40, 80)):
        ctypes.memset(place, 1, size << 20)
    for place in places:
        libc.free(place)

def resident():
    return int(open("/proc/self/statm").read().split()[1]) * 4096 >> 20

def faults(steps):
    next(steps)
    step()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in steps:
        step()
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

recipe = load_recipe("nonl_digits", {"batch_size": 2})
look = preprocessing_of(recipe)
split = Split(np.zeros((20, look.size, look.size, 3), np.uint8), np.arange(20) % 2)

def training():
    return training_batches(split, recipe, look, epoch=0, device=torch.device("cpu"))

def evaluation():
    return evaluation_batches(split, look, 2)

def nested():
    with memory.kept():
        for step in range(10):
            with memory.kept():
                pass
            yield step
"""


def measured(script: str) -> list[int]:
    done = subprocess.run([sys.executable, "-c", _SCRIPT + script], check=True, stdout=subprocess.PIPE, text=True)
    return [int(word) for word in done.stdout.split()]


def test_what_a_step_frees_is_kept_for_the_next_of_training_and_evaluation() -> None:
    script = "print(faults(iter(range(10))), faults(training()), faults(evaluation()), faults(nested()))"
    as_it_is, *kept = measured(script)
    assert as_it_is > 500, "120 MiB a step, in whatever size of pages"
    assert max(kept) < as_it_is / 20


def test_it_is_given_back_at_the_end_of_an_epoch_and_of_one_that_is_broken_off() -> None:
    script = """
before = resident()
for _ in training():
    step()
print(resident() - before)
for _ in evaluation():
    step()
    print(resident() - before)
    break
print(resident() - before)
try:
    for _ in training():
        step()
        raise ValueError
except ValueError:
    pass
print(resident() - before, faults(iter(range(10))))
"""
    after, within, broken_off, failed, faults = measured(script)
    assert within > 100, "the measure itself"
    assert max(after, broken_off, failed) < 40
    assert faults > 500, "as glibc has it"
