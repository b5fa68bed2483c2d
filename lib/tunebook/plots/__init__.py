"""The figures: one function a figure, a table goes in and a matplotlib figure comes out."""

from tunebook.face import face

__getattr__, __dir__, __all__ = face(
    __name__,
    {
        "scores": "scoring",  # pass@1 with intervals
        "sweep_scores": "scoring",  # the settings of a sweep
        "ladder": "scoring",  # prompting, rung by rung
        "taxonomy": "scoring",  # how completions ended
        "sizes": "scoring",  # file size, score and speed
        "possible_splits": "scoring",  # gained and lost that fit two scores
        "labelled": "scoring",  # what judge and people say
        "growth": "scoring",  # score against rows
        "loss": "learning",  # the training loss
        "rates": "learning",  # the pilot's learning rates
        "checkpoints": "learning",  # points of one training
        "front": "learning",  # learned against forgotten
        "preference": "learning",  # a preference training
        "reward": "learning",  # reward beside truth
        "razor": "learning",  # forgetting against the distance from base
        "methods": "learning",  # ways of training at their own best rates
        "lengths": "texts",  # tokens a row
        "coverage": "texts",  # kinds of rows
        "moved_words": "texts",  # words that new inputs have
        "effort": "deciding",  # score and its price
        "break_even": "deciding",  # calls a day at which it pays
        "cascade": "deciding",  # which answers stay local
    },
)
