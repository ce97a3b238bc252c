"""Checks of the repository itself that no ready-made tool does; `make check` runs them."""
