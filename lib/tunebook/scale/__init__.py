"""Many trainings of one study, and other machines: sweeps over grids and seeds, and submissions for a queue."""

from tunebook.face import face

__getattr__, __dir__, __all__ = face(
    __name__,
    {
        "study_rows": "recorded",  # a finished sweep, training by training
    },
)
