"""Element-wise passes in C++, compiled where they run; the source is passes.cpp."""
