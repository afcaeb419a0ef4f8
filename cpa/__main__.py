"""``python -m cpa``."""

from cpa.cli.main import main

if __name__ == "__main__":
    main()
