"""Judges that are a Python function of the user's own, in processes that may be killed."""
