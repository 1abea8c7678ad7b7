"""The errors that a user can act on, and what a user should know of though all went on.

The command line prints their message as one line, and at an error exits with status 2; a library user catches them by
class.
"""


class ProtozooError(Exception):
    """Something the user gave cannot be used; the message says what to do about it.

    Attributes:
        status: what the command line ends with.
    """

    status = 2


class ProtozooWarning(UserWarning):
    """Something is not as a user may believe; the message says what."""


class BundleError(ProtozooError):
    """A bundle is missing, incomplete, altered, or of a format that this version cannot read."""


class ImageError(ProtozooError):
    """Bytes or a file that cannot be used as an image."""
