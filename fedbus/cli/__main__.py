"""This makes `python -m fedbus.cli` run the commands."""

from fedbus.cli import main

main()
