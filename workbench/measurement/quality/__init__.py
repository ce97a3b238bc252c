"""How good what a model makes is, beside what it should be."""
