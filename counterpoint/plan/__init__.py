"""What is known about a run before anything is paid for: its plan, memory, threads and provenance."""
