"""The command line: one command per file. Imports inside commands keep `--help` fast."""
