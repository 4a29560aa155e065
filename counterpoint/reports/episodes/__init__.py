"""Recorded episodes for people to read: found in large files, shown call by call, chosen as examples, compared."""
