"""What type checkers know of :meth:`Client.classify`, and nobody else reads: one image has one answer, a list a list.

The method itself is made of :func:`serving.client.calls.classify`, which does not tell them apart.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, overload

from typing_extensions import Unpack

from serving.client.answers import Classification, ServiceError
from serving.client.calls import ClassifyOptions
from serving.client.pictures import Picture, Pictures


class Classify:
    """Of the sync client."""

    @overload
    def classify(  # type: ignore[overload-overlap]
        self, images: Picture, **options: Unpack[ClassifyOptions]
    ) -> Classification: ...
    @overload
    def classify(
        self, images: Sequence[Picture], **options: Unpack[ClassifyOptions]
    ) -> list[Classification | ServiceError]: ...
    def classify(self, images: Pictures, **options: Unpack[ClassifyOptions]) -> Any:
        """See :func:`serving.client.calls.classify`."""


class AsyncClassify:
    """Of the async client."""

    @overload
    async def classify(  # type: ignore[overload-overlap]
        self, images: Picture, **options: Unpack[ClassifyOptions]
    ) -> Classification: ...
    @overload
    async def classify(
        self, images: Sequence[Picture], **options: Unpack[ClassifyOptions]
    ) -> list[Classification | ServiceError]: ...
    async def classify(self, images: Pictures, **options: Unpack[ClassifyOptions]) -> Any:
        """See :func:`serving.client.calls.classify`."""
