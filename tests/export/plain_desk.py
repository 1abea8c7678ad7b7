"""Somebody who has timm and transformers and not protozoo: loads folders, and asks the models about pictures.

Run by ``python -I plain_desk.py JOBS OUT``. JOBS is a JSON list of ``{"folder", "pictures"}``; OUT an .npz with logits
named ``<index of the job>.<way of loading>``, and the label of the first picture.
"""

from __future__ import annotations

import importlib
import json
import re
import sys
from importlib.abc import MetaPathFinder
from pathlib import Path
from typing import Any

OURS = ("zoo", "training", "export", "serving")


class _Blocker(MetaPathFinder):
    """Ours cannot be imported, though they are installed."""

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> None:
        if name.partition(".")[0] in OURS:
            raise ImportError(f"{name} is not to be had here")


def snippets(card: Path) -> list[str]:
    """The Python of a card."""
    return re.findall(r"```python\n(.*?)```", card.read_text(encoding="utf-8"), flags=re.DOTALL)


def answers(folder: Path, pictures: list[str]) -> dict[str, Any]:
    """Logits by the card's own snippets: timm, transformers, and the weights alone, which bring no preprocessing."""
    import numpy as np
    import torch
    from PIL import Image

    scopes: list[dict[str, Any]] = [{} for _ in range(3)]
    for scope, code in zip(scopes, snippets(folder / "README.md"), strict=True):
        exec(code.replace("FOLDER", str(folder)).replace("image.png", pictures[0]), scope)
    by_timm, by_transformers, by_weights = scopes
    images = [Image.open(picture).convert("RGB") for picture in pictures]
    pixels = torch.stack([by_timm["transform"](image) for image in images])
    with torch.inference_mode():
        found = {
            "local-dir": by_timm["model"](pixels),
            "transformers": by_transformers["model"](**by_transformers["processor"](images)).logits,
            "checkpoint_path": by_weights["model"](pixels),
        }
    assert by_timm["label"] == by_transformers["label"]
    return {**{way: logits.numpy() for way, logits in found.items()}, "label": np.array(by_timm["label"])}


def main(jobs: str, out: str) -> None:
    sys.meta_path.insert(0, _Blocker())
    for package in OURS:
        try:
            importlib.import_module(package)
        except ImportError:
            continue
        raise AssertionError(f"{package} can be imported")
    import numpy as np

    rows = json.loads(Path(jobs).read_text())
    found = {
        f"{index}.{way}": logits
        for index, row in enumerate(rows)
        for way, logits in answers(Path(row["folder"]), row["pictures"]).items()
    }
    assert not {name.partition(".")[0] for name in sys.modules} & set(OURS)
    np.savez(out, **found)


if __name__ == "__main__":
    main(*sys.argv[1:])
