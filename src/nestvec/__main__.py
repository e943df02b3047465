"""`python -m nestvec` is the command `nestvec`: what torchrun starts."""

from nestvec.cli.main import main

if __name__ == "__main__":
    main()
