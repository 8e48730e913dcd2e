"""A long-running coordinator and party have this in common: a process that starts, hears signals and stops."""
