"""Mathematical problems."""
