"""Programs judged by running them."""
