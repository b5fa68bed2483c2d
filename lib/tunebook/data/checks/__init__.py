"""The checks of the data gate, one subject a file."""
