"""Training: what stands around TRL. Notebooks 02 and 03 construct the trainers themselves."""

from tunebook.face import face

__getattr__, __dir__, __all__ = face(
    __name__,
    {
        "tokenised": "dataset",  # rows as token ids with their mask
        "own_texts": "rehearsal",  # texts of the base model's own
        "interleave": "rehearsal",  # rows and texts in batches of one kind
        "attention_for": "settings",  # which attention is fast here
        "machine_settings": "settings",  # SFTConfig for this machine
        "row_layout": "settings",  # padding, or rows side by side
        "keep_trainable_in_float32": "settings",  # adapters in float32
        "use_compact_head": "compact_head",  # the vocabulary only where tokens are trained
        "Report": "settings",  # loss and progress, step by step
        "save_adapter": "settings",  # the adapter with its base named
        "answers_before_and_after": "sampling",  # base and trained model, side by side
        "KeepAdapters": "checkpoints",  # points of the training
        "Yardstick": "checkpoints",  # what checkpoints are compared by
        "keep_best": "checkpoints",  # the best point of a training
        "keep_better": "checkpoints",  # the better of two adapters
        "sample_answers": "sampling",  # answers of a model to training prompts
        "checker_of": "sampling",  # is this answer right?
        "preference_pairs": "dataset",  # right answers beside wrong ones
        "pair_dataset": "dataset",  # pairs as TRL takes them
    },
)
