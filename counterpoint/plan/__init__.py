"""The checks and estimates before a run starts: its plan, memory, threads and provenance."""
