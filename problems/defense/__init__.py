"""Certified defense of a classifier that can only be queried: a denoiser in front of it, trained by queries."""
