"""The bundle and the engine that runs it, ready for requests."""

from __future__ import annotations

from dataclasses import dataclass

from serving.engine import Engine
from serving.settings import Settings
from zoo import memory
from zoo.bundle import Bundle, find


@dataclass(frozen=True)
class Model:
    """A bundle that was checked, and its engine, warmed up."""

    bundle: Bundle
    engine: Engine


def load(settings: Settings) -> Model:
    """Load, check and warm up what ``settings`` name.

    Raises:
        ProtozooError: the bundle or the device cannot be used.
    """
    memory.for_loading()
    bundle = Bundle.open(find(settings.bundle))
    engine = Engine(bundle, settings.device, settings.gpu, lanes=True)
    engine.warm_up()
    memory.for_serving()
    return Model(bundle, engine)
