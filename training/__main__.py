"""``python -m training RECIPE ...``: ``protozoo train`` for launchers that start a module on every rank.

For example ``accelerate launch -m training nonl_cifar10 --data DATA --out RUN``, or ``torchrun --nproc-per-node 8 -m
training ...``.
"""

from training.cli import train
from zoo.cli import run_command

if __name__ == "__main__":
    run_command(train, "python -m training")
