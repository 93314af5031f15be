"""``python -m consentry``."""

from consentry.cli import main

main()
