"""Convolutions with weights of their own for each candidate, compiled on first use."""
