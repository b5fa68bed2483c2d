"""Data: read rows, judge them, split them. Notebook 01 and `tunebook validate`."""
