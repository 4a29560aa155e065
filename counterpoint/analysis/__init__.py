"""Reading and summarising what a run has recorded; free of torch."""
