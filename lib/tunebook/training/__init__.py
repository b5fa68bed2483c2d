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
        "use_compact_head": "short_forward",  # the vocabulary only where tokens are trained
        "Ranks": "ranks",  # one training in several processes
        "warmup_steps": "settings",  # in which the rate rises
        "Report": "settings",  # loss and progress, step by step
        "save_adapter": "settings",  # the adapter with its base named
        "answers_before_and_after": "sampling",  # base and trained model, side by side
        "KeepAdapters": "checkpoints",  # points of the training
        "Yardstick": "checkpoints",  # what checkpoints are compared by
        "keep_best": "checkpoints",  # the best point of a training
        "keep_better": "checkpoints",  # the better of two adapters
        "Sampling": "sampling",  # how a model answers training prompts, and when that is not worth its time
        "sample_preferences": "sampling",  # its answers, labelled and paired
        "checker_of": "sampling",  # is this answer right?
        "sft_rows": "dataset",  # what may be imitated
        "choose_method": "preferences",  # dpo, ipo, rpo, kto or none, with its own settings
        "own_preferences": "preferences",  # pairs and labels that rows hold
        "hold_out": "preferences",  # preferences that training does not see
        "wants_samples": "preferences",  # must the model answer?
        "Preferences": "preferences",  # pairs and labelled answers
        "rows_for": "preferences",  # what a method trains
        "label_weights": "preferences",  # both labels weigh the same
        "preference_dataset": "dataset",  # preferences as TRL takes them
        "use_own_tokens": "dataset",  # their answers end as a generation does
        "rank_pairs": "preferences",  # held-out pairs before and after
        "ranking": "preferences",  # accuracy and margin of held-out pairs
        "general_prompts": "general",  # prompts about anything but the task
        "adapter_to_recover": "recover",  # of a stage, or a foreign one
        "scaled": "recover",  # an adapter with a smaller update
        "base_answers": "recover",  # what base says to general prompts
        "recovery_dataset": "recover",  # prompts and rows of each step
        "RecoveryTrainer": "recover",  # distillation from base, or replay
        "Retentions": "front",  # what must not be forgotten
        "measure_front": "front",  # learned and forgotten, point by point
        "keep_point": "front",  # the point to go on with
        "Verifier": "reinforce",  # the judge as a reward
        "use_own_sampler": "reinforce",  # the kit's generator in TRL's trainer
        "leave_out_equal_answers": "reinforce",  # no pass for answers that teach nothing
        "Sealing": "reinforce",  # how reward and truth are compared
        "SealedSet": "reinforce",  # problems that are never rewarded
        "start_of": "reinforce",  # is there something to reinforce?
        "Checkpoints": "resume",  # whole or absent: a killed training goes on
        "student_settings": "settings",  # precision of the model that learns, a base of 4 bits
        "reporting": "settings",  # TensorBoard or Trackio, on this disk
        "Settings": "advice",  # method, rank, rate, batch
        "advise": "advice",  # what they should be, and why
        "departures": "advice",  # where they are otherwise
        "pilot_rates": "advice",  # three rates tried
        "forecast_memory": "forecast",  # bytes of a step, by the model's form
        "load_of": "forecast",  # the heaviest step
        "pilot": "forecast",  # time and memory, by a few steps
        "forecast_rows": "forecast",  # as a table
        "beside": "forecast",  # forecast and actual
        "Peak": "forecast",  # the most memory that was held
        "MemoryLadder": "out_of_memory",  # less memory a step, where it runs out
        "Watching": "watch",  # how a training is watched
        "Watch": "watch",  # held-out loss, distance from base, health
        "held_out": "watch",  # the rows that it watches
        "Mini": "headroom.probe",  # how much is tried before a training
        "Continued": "headroom.continued",  # how much is tried to see what groups of rows do
        "with_and_without": "headroom.continued",  # dev after continuations with a group's rows and without
        "probe": "headroom.probe",  # what base and a mini-adapter do on dev
    },
)
