"""Answers scored by reasoning-gym."""
