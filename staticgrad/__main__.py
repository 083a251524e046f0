"""``python -m staticgrad``: the command line, with the name that ``cli`` gives it."""

from staticgrad.cli import main

if __name__ == "__main__":
    main()
