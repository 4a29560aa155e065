"""Who is right."""
