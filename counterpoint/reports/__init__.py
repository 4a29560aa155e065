"""Pictures and tables of runs, from their directories alone."""
