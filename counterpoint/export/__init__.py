"""A trained policy taken out of a run, with its model card."""
