"""Prototype sets: named collections of classes that are enrolled while the service runs, in a database.

A class is the normalised mean of unit embeddings. :mod:`serving.sets.embeddings` is the arithmetic,
:mod:`serving.sets.names` what may be a name, :mod:`serving.sets.tables` and :mod:`serving.sets.database` are the
tables and the transactions, :mod:`serving.sets.rows` the statements, :mod:`serving.sets.archive` a set as a file, and
:mod:`serving.sets.store` puts them together. Nothing here knows of HTTP, torch or timm.
"""

from serving.sets.errors import SetError
from serving.sets.records import ClassState, Exemplars, Limits, ModelKey, Sample, SetInfo, Snapshot
from serving.sets.store import SetStore

__all__ = ["ClassState", "Exemplars", "Limits", "ModelKey", "Sample", "SetError", "SetInfo", "SetStore", "Snapshot"]
