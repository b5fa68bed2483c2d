"""`tunebook upgrade`: something has changed since a run shipped, a new base or another price. Keep what ships, train
again, or retire it?
"""
