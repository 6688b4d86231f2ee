"""The networks of many candidates at once, each on states of its own."""

from problems.pde.candidates.network import CandidateNetwork, Candidates
from problems.pde.candidates.weighted import CandidateForm

__all__ = ["CandidateForm", "CandidateNetwork", "Candidates"]
