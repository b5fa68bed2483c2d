"""What values a parameter may have, beyond its type: found before anything runs. Does not know types (see `params`)."""

import math

from tunebook.errors import InputProblem

CHOICES = {
    "prompt_style": ("chat", "few_shot", "raw"),
    "thinking": ("none", "off", "on"),
    "ladder": ("instruction", "few_shot", "retrieved", "larger", "hosted"),
}
# whole numbers and numbers that must be above 0
POSITIVE = (
    "batch_size dpo_batch_size lora_rank lora_alpha max_length max_new_tokens retained_max_new_tokens n_samples dpo_prompts dpo_samples"
    " slots learning_rate dpo_learning_rate epochs dpo_epochs dpo_beta rehearsal_tokens quantisation_margin"
).split()
# numbers that must not be below 0
NOT_NEGATIVE = (
    "n_rows n_dev n_test benchmark_limit retained_limit seed few_shot audit_problems general_documents checkpoints rehearsal_share"
    " temperature dpo_temperature warmup_share parity_rows importance_rows served_prompts sensitivity_limit"
    " price_machine_hour price_hosted_input price_hosted_output price_staff_hour staff_hours data_cost cell_timeout_seconds"
).split()
# (above, up to)
SHARES = {
    "top_p": (0.0, 1.0),
    "warmup_share": (-math.inf, 1.0),
    "utilisation": (0.0, 1.0),
    "rehearsal_share": (-math.inf, 10.0),
}


def check(key: str, value, where: str) -> None:
    """InputProblem where `value` means nothing for `key`."""
    for item in value if isinstance(value, list) else [value]:
        if key in CHOICES and item not in CHOICES[key]:
            raise InputProblem(f"{where}: {key} is {item!r}: choose from {', '.join(CHOICES[key])}")
    if key in POSITIVE and not value > 0:
        raise InputProblem(f"{where}: {key} is {value}: it must be above 0")
    if key in NOT_NEGATIVE and value < 0:
        raise InputProblem(f"{where}: {key} is {value}: it must not be negative")
    low, high = SHARES.get(key, (-math.inf, math.inf))
    if key in SHARES and not low < value <= high:
        above = "" if low < 0 else f"above {low:g} and "
        raise InputProblem(f"{where}: {key} is {value}: it must be {above}at most {high:g}")
