"""`python -m hora` is the command `hora`."""

from hora.cli import main

if __name__ == "__main__":
    main()
