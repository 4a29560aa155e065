"""The report: studies and runs as one page that needs no network."""
