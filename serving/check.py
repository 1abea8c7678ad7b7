"""``python -m serving.check``: can this environment serve? A process of its own, so that nothing stays on the device."""

from __future__ import annotations

import sys

from zoo.bundle import Bundle, ProtozooError, find


def main() -> int:
    """Open the bundle and run its golden images on the device; print one line and return 2 where that fails."""
    from serving.settings import Settings

    try:
        settings = Settings.from_environment()
        bundle = Bundle.open(find(settings.bundle))
        from serving.engine import Engine

        Engine(bundle, settings.device)
    except ProtozooError as error:
        print(f"protozoo: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
