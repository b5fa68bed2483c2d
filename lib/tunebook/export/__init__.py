"""Export: merge, convert to GGUF, quantise, and prove that the file speaks the same tokens."""
