"""The networks of many candidates at once, each on states of its own."""

from problems.pde.candidates.network import CandidateNetwork, Candidates

__all__ = ["CandidateNetwork", "Candidates"]
