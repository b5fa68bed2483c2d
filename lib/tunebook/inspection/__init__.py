"""Inspection: other people's model files, looked at in limited child processes before anything opens them."""
