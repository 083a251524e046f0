"""``python -m staticgrad``: the command line. It says nothing that ``cli`` does not."""

from staticgrad.tools.commands.cli import main

if __name__ == "__main__":
    main()
