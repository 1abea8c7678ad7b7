"""A client of the service: :class:`Client`, and :class:`AsyncClient` with the same verbs.

:mod:`serving.client.calls` builds the requests, :mod:`serving.client.answers` types the answers, and
:mod:`serving.client.http` sends and retries. Needs httpx, numpy and tenacity, and nothing else of the service.
"""

from serving.client.answers import (
    Classification,
    EnrolledClass,
    Exemplar,
    Prediction,
    Prototypes,
    PrototypeSetInfo,
    ServedModel,
    ServiceError,
    Verification,
)
from serving.client.http import AsyncClient, Client

__all__ = [
    "AsyncClient",
    "Classification",
    "Client",
    "EnrolledClass",
    "Exemplar",
    "Prediction",
    "PrototypeSetInfo",
    "Prototypes",
    "ServedModel",
    "ServiceError",
    "Verification",
]
