"""``python -m ranfer`` is ``ranfer``."""

from ranfer.cli import main

if __name__ == "__main__":
    main()
