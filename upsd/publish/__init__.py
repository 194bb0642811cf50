"""How the rest of the house learns what the daemon knows."""
