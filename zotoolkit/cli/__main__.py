"""`python -m zotoolkit.cli` does what `zotoolkit` does."""

import sys

from zotoolkit.cli import main

if __name__ == "__main__":
    sys.exit(main())
