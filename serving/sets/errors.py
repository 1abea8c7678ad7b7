"""What can go wrong with a prototype set: one class a cause, with a message for the client."""

from __future__ import annotations

from zoo.bundle import ProtozooError


class SetError(ProtozooError):
    """A request to the store that cannot be done. But for :class:`DatabaseAwayError`, nothing was changed by it.

    Attributes:
        code: for programs.
        http_status: what a service answers.
    """

    code = "set_error"
    http_status = 500


class UnknownSetError(SetError):
    """There is no set of this name."""

    code = "unknown_set"
    http_status = 404


class UnknownClassError(SetError):
    """The set has no class of this name."""

    code = "unknown_class"
    http_status = 404


class UnknownExampleError(SetError):
    """The class has no example of this id."""

    code = "unknown_example"
    http_status = 404


class ClassExistsError(SetError):
    """The set has a class of this name already."""

    code = "class_exists"
    http_status = 409


class SetExistsError(SetError):
    """There is a set of this name already."""

    code = "set_exists"
    http_status = 409


class OtherModelError(SetError):
    """The set was enrolled with another model: its embeddings mean nothing to this one."""

    code = "other_model"
    http_status = 409


class ImagesMissingError(SetError):
    """A set cannot be embedded again, as not all of its images were kept."""

    code = "images_missing"
    http_status = 409


class LastExampleError(SetError):
    """A class cannot stand without examples; deleting it has to be asked for."""

    code = "last_example"
    http_status = 409


class StaleVersionError(SetError):
    """Somebody else has written since the client read."""

    code = "stale_version"
    http_status = 412


class InvalidNameError(SetError):
    """The name of a set or a class is not one."""

    code = "invalid_name"
    http_status = 422


class InvalidExamplesError(SetError):
    """Embeddings or images that no class can be made of."""

    code = "invalid_examples"
    http_status = 422


class InvalidKeyError(SetError):
    """An idempotency key that is none."""

    code = "invalid_key"
    http_status = 422


class KeyReusedError(SetError):
    """An idempotency key came again with another request."""

    code = "key_reused"
    http_status = 422


class InvalidArchiveError(SetError):
    """Bytes that are not a prototype set."""

    code = "invalid_archive"
    http_status = 422


class DatabaseAwayError(SetError):
    """The database cannot be reached, is too busy, or lacks what it should hold.

    A write that ends so may or may not have been done.
    """

    code = "database_away"
    http_status = 503


class SetFullError(SetError):
    """A limit of the operator's is reached."""

    code = "set_full"
    http_status = 507
