"""What a run has recorded, read and summarised; free of torch."""
