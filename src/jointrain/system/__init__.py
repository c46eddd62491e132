"""The machine: cores, processes, streams, files."""
