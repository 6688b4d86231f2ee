"""Correcting a PDE simulator that can only be queried: a coarse solver, a small network after every step of it."""
