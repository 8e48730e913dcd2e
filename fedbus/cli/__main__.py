"""`python -m fedbus.cli`."""

from fedbus.cli import main

main()
