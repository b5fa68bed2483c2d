"""Tunebook: fine-tune a small language model and say honestly whether it was worth it."""
