"""``python -m i2net_bundle`` is ``i2net``."""

from i2net_bundle.cli import main

if __name__ == "__main__":
    main()
