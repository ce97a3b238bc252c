"""Training of what the package ships; nothing here is imported by it."""
