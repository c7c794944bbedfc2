"""``python -m rnafm_cli`` is the ``rnafm`` command."""

from rnafm_cli.cli.app import main

main()
