"""paracel."""
