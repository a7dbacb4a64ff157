"""`python -m coatcheck` is the command `coatcheck`."""

from coatcheck.cli.main import main

main()
