"""``python -m zoo`` is ``protozoo``."""

from zoo.cli import main

main()
