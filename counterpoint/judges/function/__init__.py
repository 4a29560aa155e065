"""Judges that are the user's own Python function, in processes that can be killed."""
