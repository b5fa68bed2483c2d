"""How far could training come? A few minutes of measurement before it begins."""
