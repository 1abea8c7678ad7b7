"""What a frozen encoder's features are worth on other data sets: linear probes and one-pass prototypes."""

from training.downstream.measuring import METHODS, Method, measure
from training.downstream.record import TransferOptions, record_transfer
from training.downstream.sets import TABLE4, open_sets
from training.downstream.table import markdown

__all__ = ["METHODS", "TABLE4", "Method", "TransferOptions", "markdown", "measure", "open_sets", "record_transfer"]
