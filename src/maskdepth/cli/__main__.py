"""`python -m maskdepth.cli` is `maskdepth`, where no script of that name is installed."""

from maskdepth.cli.program import main

if __name__ == "__main__":
    main()
