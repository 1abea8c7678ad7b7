"""A copy of encoded images that can be read in any order, which parquet files cannot: they unpack by the group of rows.

It is a memory-mapped Arrow file, as the Hub's own library keeps, under :func:`training.data.source.data_folder`.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import tempfile
from collections.abc import Callable, Iterable
from itertools import islice
from pathlib import Path
from typing import Any

from training.data.source import data_folder
from training.data.splits import DataError

_ROWS = 256


class ArrowPictures:
    """Encoded images in an Arrow file; every process maps it for itself."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._table: Any = None

    def __reduce__(self) -> tuple[type[ArrowPictures], tuple[Path]]:
        """The path alone: the table would be all the data."""
        return ArrowPictures, (self.path,)

    def __getitem__(self, index: int) -> tuple[str, io.BytesIO]:
        """Name and content of an image."""
        import pyarrow as pa

        if self._table is None:
            self._table = pa.ipc.open_file(pa.memory_map(str(self.path))).read_all()
        return self._table["name"][index].as_py(), io.BytesIO(self._table["bytes"][index].as_py())


def arrow_copy(paths: list[Path], column: str, rows: Callable[[], Iterable[tuple[str, bytes]]]) -> ArrowPictures:
    """The copy of a column of parquet files; made where there is none since they changed.

    Raises:
        DataError: it cannot be written.
    """
    files = [(str(path.resolve()), path.stat().st_size, path.stat().st_mtime_ns) for path in paths]
    key = hashlib.sha256(json.dumps([column, files]).encode()).hexdigest()
    target = data_folder() / "arrow" / f"{key[:32]}.arrow"
    if not target.is_file():
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            _write(target, iter(rows()))
        except OSError as error:
            raise DataError(
                f"{target.parent} cannot take the copy of {paths[0].parent} that reading in any order needs ({error}): "
                "make room, or set PROTOZOO_DATA to a folder that has it"
            ) from error
    return ArrowPictures(target)


def _write(target: Path, rows: Iterable[tuple[str, bytes]]) -> None:
    """Write name and content of each image; a killed process leaves no file of that name."""
    import pyarrow as pa

    schema = pa.schema({"name": pa.string(), "bytes": pa.binary()})
    descriptor, temporary = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            with pa.ipc.new_file(file, schema) as writer:
                while block := list(islice(rows, _ROWS)):
                    names, contents = zip(*block, strict=True)
                    writer.write_batch(
                        pa.record_batch([pa.array(names), pa.array(contents, pa.binary())], schema=schema)
                    )
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).chmod(0o644)  # mkstemp makes it private; the folder may be shared
        Path(temporary).replace(target)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
