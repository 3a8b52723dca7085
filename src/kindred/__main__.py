"""``python -m kindred``; guarded, because processes that render the demo import this module too."""

from kindred.cli import main

if __name__ == "__main__":
    main()
