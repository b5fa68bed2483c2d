"""Many trainings of one study, and other machines: sweeps over grids and seeds, and submissions for a queue."""
