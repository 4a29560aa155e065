"""`python -m counterpoint`."""

from counterpoint.cli.main import main

main()
