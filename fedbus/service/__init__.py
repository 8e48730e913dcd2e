"""What a long-running coordinator and party have in common: a process that starts, hears signals and stops."""
