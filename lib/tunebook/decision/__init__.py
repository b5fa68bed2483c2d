"""The decision: what was promised before training, and whether the numbers keep it."""
