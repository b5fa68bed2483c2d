"""Every family of the zoo through every step: inspected, loaded, masked, trained, merged, exported, compared.

`run(name, root, convert)` gives a word or a sentence for each step. `python tests/zoo_matrix.py [FAMILY...]` runs all of
them, or those named, writes what came out into zoo_matrix.json and the table of it into README.md; the tests run `QUICK`
and hold the record to EXPECTED.
"""

import contextlib
import json
import sys
from pathlib import Path

import zoo_forms  # noqa: F401  adds to the families
import zoo_more  # noqa: F401  as well
from zoo import FAMILIES, build

STEPS = ("inspect", "load", "mask", "sft", "dpo", "merge", "gguf", "tokens", "answers", "score")
WORKS = "works"
REFUSED = {
    name: ("gguf", f"export: the converter refused {name}: ERROR:hf-to-gguf:Model {model}ForCausalLM is not supported")
    for name, model in (("opt", "OPT"), ("helium", "Helium"), ("zamba2", "Zamba2"), ("nanochat", "NanoChat"))
} | {
    "dots1": ("gguf", "export: the converter refused dots1: ValueError: Unsupported expert score gating function value: "
              "noaux_tc"),
    "bitnet": ("inspect", "model: bitnet has packed weights ('bitnet' in quantization_config), which are not read and "
               "cannot be added to; load the 16-bit base"),
    "ministral3": ("inspect", "model: ministral3 is of type mistral3, which transformers loads, but not as a causal language"
                   " model: nothing here can train it; give its text model (ministral3) saved by itself"),
    "internlm3": ("load", "model: internlm3 has no readable tokenizer (transformers reads 271 of 271 strings otherwise than"
                  " tokenizer.model, which the model was trained with, such as '5'); save it there with"
                  " tokenizer.save_pretrained"),
}  # fmt: skip


def expected(name: str) -> dict[str, str]:
    """What a family's way should be: every step works, up to the sentence of a refusal."""
    last, said = REFUSED.get(name, (STEPS[-1], WORKS))
    return dict.fromkeys(STEPS[: STEPS.index(last)], WORKS) | {last: said}


EXPECTED = {name: expected(name) for name in FAMILIES}
RECORD, README = (Path(__file__).with_name(name) for name in ("zoo_matrix.json", "README.md"))
# one of each kind: what is left runs with `python tests/zoo_matrix.py`
QUICK = ("qwen2.5_base", "qwen3_moe", "gemma2", "gemma3_vision", "mistral_v0.2", "phi3", "gpt2", "pythia", "lfm2",
"falcon_h1", "cohere2", "tinyllama_chat", "glm4", "r1_distill")  # fmt: skip
TEXTS = {
    "every day at noon": "0 12 * * *",
    "Mon-Fri 22:00": "0 22 * * 1-5",
    "été à 5h": "0 5 * * *",
    "two  spaces\n and lines": "0 * * * *",
}
ROWS = [{"prompt": [{"role": "user", "content": text}], "completion": [{"role": "assistant",
"content": answer}]} for text, answer in TEXTS.items()]  # fmt: skip
NAMES = {"phi3": "Phi-3-mini-4k-instruct"}  # folders that are named as the repository is
MARKS = ("<!-- families: begin -->", "<!-- families: end -->")


@contextlib.contextmanager
def converter():
    """Has `tunebook.export.convert` ask `zoo_converter`; yields a function that says which BPE splitting comes next."""
    from tunebook.export import convert

    splitting, ask, script = [""], convert._ask, convert.SCRIPT
    convert._converter.cache_clear()
    convert.SCRIPT = Path(__file__).with_name("zoo_converter.py")
    convert._ask = lambda words: ask([words[0], *splitting[: words[0] == "model"], *words[1:]])
    try:
        yield lambda name: splitting.__setitem__(0, name)
    finally:
        convert._ask, convert.SCRIPT = ask, script
        convert._converter.cache_clear()


class Case:
    """One family on its way; every method is a step, raises InputProblem to refuse, and AssertionError where it is
    wrong.
    """

    def __init__(self, name: str, root: Path, is_quick: bool = False):
        from tunebook.models.device import Placement
        from tunebook.models.source import resolve_model

        self.is_quick = is_quick
        self.family, self.placement = FAMILIES[name], Placement("cpu", "float32", "float32", "", "test")
        self.folder = build(name, root / NAMES.get(name, name))
        self.work, self.adapter = root / f"{name}-work", root / f"{name}-adapter"
        self.work.mkdir()
        self.source = resolve_model(str(self.folder), needs_weights=True)

    def inspect(self):
        from tunebook.models.inspect import inspect

        scan = not self.is_quick or bool(self.family.buffers or self.family.notes)  # which tries the tokenizer too
        found = inspect(str(self.folder), scan=scan)["findings"]
        wanted = [*self.family.faults, *([] if self.family.template else ["chat_template"])]  # base models have none
        assert [row["check"] for row in found if row["severity"] != "info"] == wanted, found
        assert set(self.family.notes) <= {row["check"] for row in found}, found

    def load(self):
        from tunebook.models.loading import load_model, load_tokenizer

        self.tokenizer = load_tokenizer(
            self.source, "model" if self.family.template else "plain", self.family.end_of_turn
        )
        load_model(self.source, self.placement)
        assert self.tokenizer.turn_end == self.tokenizer.convert_tokens_to_ids(self.family.end)

    def mask(self):
        from tunebook.models.rendering import measure_row
        from tunebook.models.templates import encode_row

        for row in ROWS:
            ids, mask = encode_row(self.tokenizer, row["prompt"], row["completion"])
            trained = self.tokenizer.decode([token for token, is_trained in zip(ids, mask, strict=True) if is_trained])
            answer = row["completion"][0]["content"]
            assert trained.endswith(self.family.end) and answer in trained and trained.count(self.family.end) == 1, (
                trained
            )
            assert measure_row(self.tokenizer)(row)[2] == ""

    def sft(self):
        from peft import LoraConfig
        from trl import SFTConfig, SFTTrainer

        from tunebook import training
        from tunebook.models.abilities import lora_targets

        student, rows = self._student(), training.tokenised(ROWS, self.tokenizer, 128)
        settings = training.machine_settings(self.placement, student) | training.row_layout(
            self.placement, rows, 2, student
        )
        arguments = SFTConfig(**self._arguments(), learning_rate=0.02, max_steps=4, **settings)
        lora = LoraConfig(r=4, lora_alpha=8, target_modules=lora_targets(student), task_type="CAUSAL_LM")
        trainer = SFTTrainer(student, arguments, train_dataset=rows, processing_class=self.tokenizer, peft_config=lora)
        training.use_compact_head(trainer)
        losses = self._train(trainer)
        training.save_adapter(trainer.model, self.adapter, self.source)
        assert losses[-1] < losses[0], losses

    def dpo(self):
        from datasets import Dataset
        from peft import PeftModel
        from trl import DPOConfig, DPOTrainer

        from tunebook import training

        pairs = [{"prompt": row["prompt"], "chosen": row["completion"], "rejected": [{"role": "assistant",
        "content": "no"}]} for row in ROWS]  # fmt: skip
        base = self._student()
        settings = training.machine_settings(self.placement, base)
        policy = PeftModel.from_pretrained(base, str(self.adapter), is_trainable=True)
        arguments = DPOConfig(**self._arguments(), learning_rate=0.001, max_steps=2, max_length=128, **settings)
        trainer = DPOTrainer(
            policy, args=arguments, train_dataset=Dataset.from_list(pairs), processing_class=self.tokenizer
        )
        training.use_own_tokens(trainer, pairs)
        training.use_compact_head(trainer)
        end = self.tokenizer.convert_tokens_to_ids(self.family.end)
        assert all(
            row[key].index(end) == len(row[key]) - 1
            for row in trainer.train_dataset
            for key in ("chosen_ids", "rejected_ids")
        ), self.tokenizer.decode(trainer.train_dataset[0]["chosen_ids"])
        assert all(0 < loss < 5 for loss in self._train(trainer))

    def _student(self):
        import torch
        from transformers import AutoModelForCausalLM

        return AutoModelForCausalLM.from_pretrained(self.folder, dtype=torch.float32, attn_implementation="eager")

    def _arguments(self) -> dict:
        common = {
            "output_dir": str(self.work),
            "per_device_train_batch_size": 2,
            "save_strategy": "no",
            "report_to": "none",
        }
        return common | {"logging_steps": 1, "disable_tqdm": True, "seed": 0}

    def _train(self, trainer) -> list[float]:
        from transformers import PrinterCallback

        trainer.remove_callback(PrinterCallback)
        trainer.train()
        return [row["loss"] for row in trainer.state.log_history if "loss" in row]

    def merge(self):
        from tunebook.models.loading import load_model
        from tunebook.models.source import resolve_model

        judged = resolve_model(str(self.adapter))  # the shapes fit, though names in the files are others
        assert judged.adapter and judged.folder == self.source.folder
        self.trained = load_model(self.source, self.placement, self.adapter)  # compares both forms itself

    def gguf(self):
        from tunebook.export.convert import export_files
        from tunebook.models.gguf_engine import GgufModel

        files = export_files(self.source, self.adapter, self.tokenizer, self.work, ["f16"])
        self.file = GgufModel(files["f16"], 4)

    def tokens(self):
        from tunebook.export.parity import (
            SAME_KL,
            HeldOutRows,
            compare_strings,
            compare_templates,
            divergence,
            gguf_log_probabilities,
            log_probabilities,
        )
        from tunebook.models.templates import encode_row

        theirs = self.file.tokenizer
        words = compare_strings(self.tokenizer, theirs, 0, 300)
        assert words["same"] == words["n"], words
        turns = compare_templates(self.tokenizer, theirs, [row["prompt"] for row in ROWS])
        assert turns["same_text"] == turns["same_ids"] == turns["n"] and not turns["doubled_bos"], turns
        assert self.file.stops == self.tokenizer.ends
        rows = HeldOutRows(
            [encode_row(self.tokenizer, row["prompt"], row["completion"])[0] for row in ROWS], [0] * len(ROWS)
        )
        apart = divergence(log_probabilities(self.trained, rows), gguf_log_probabilities(self.file, rows))
        assert apart["kl_mean"] < SAME_KL, apart

    def answers(self):
        from tunebook.export.serving import compare_answer
        from tunebook.models.engine import Decoding, TransformersEngine

        engine = TransformersEngine(self.trained, self.tokenizer, 4)
        prompts = [engine.encode(row["prompt"]) for row in ROWS]
        ours = {done.index: done.ids for done in engine.generate(prompts, Decoding(6))}
        kinds = [compare_answer(self.file, prompt, ours[at], Decoding(6)) for at, prompt in enumerate(prompts)]
        assert "unexplained" not in kinds and "same_text" in kinds, kinds

    def score(self):
        from tunebook.evaluation.benchmark import from_problems
        from tunebook.evaluation.completions import complete
        from tunebook.evaluation.protocol import Protocol
        from tunebook.evaluation.score import score

        problems = [
            {"task_id": str(at), "prompt": text, "entry_point": "check", "canonical_solution": answer, "kind": "answer",
             "test": f"def check(answer):\n    assert answer == {answer!r}\n"}
            for at, (text, answer) in enumerate(TEXTS.items())
        ]  # fmt: skip
        bench = from_problems("task", problems)
        done = complete(self.file, bench, Protocol("", max_new_tokens=12), self.work / "completions.jsonl")
        found = score(bench, done["rows"], self.work / "score", done["protocol"], allow_unisolated=True)
        assert found["n"] == len(problems) and done["protocol"].rendered_sha256, found

    def close(self):
        if hasattr(self, "file"):
            self.file.close()


def run(name: str, root: Path, split, is_quick: bool = False) -> dict[str, str]:
    """Step -> `works`, or the sentence at which the family's way ends; a wrong result is an AssertionError."""
    from tunebook.errors import InputProblem

    results = {}
    try:
        case = Case(name, root, is_quick)
    except InputProblem as problem:
        return {STEPS[0]: str(problem).replace(str(root / name), name)}
    split(case.family.pre)
    try:
        for step in STEPS:
            try:
                getattr(case, step)()
                results[step] = WORKS
            except InputProblem as problem:
                results[step] = str(problem).replace(str(root / name), name)
                break
    finally:
        case.close()
    return results


WORDS = {WORKS: "yes", "WRONG": "wrong", "": ""}  # by the first five letters of what a step said


def table(record: dict) -> str:
    """A record as a Markdown table, sentences of refusal and families that were not run below it."""
    results = record["families"]
    whole = sum(steps.get("score") == WORKS for steps in results.values())
    versions = ", ".join(f"{name} {number}" for name, number in record["versions"].items())
    lines = [f"Run on {record['date']}, {record['processor']}, {versions}."]
    lines += [
        f"{whole} of {len(results)} families go from rows to a scored GGUF file; below the table is why others do not."
    ]
    lines += ["", f"| family | {' | '.join(STEPS)} |", f"|{'---|' * (len(STEPS) + 1)}"]
    for name, steps in results.items():
        cells = [WORDS.get(steps.get(step, "")[:5], "refused") for step in STEPS]
        lines.append(f"| {name.replace('_', ' ')} | {' | '.join(cells)} |")
    notes = [f"- {name}: {said}" for name, steps in results.items() for said in steps.values() if said != WORKS]
    if missing := ", ".join(name for name in FAMILIES if name not in results):
        notes.append(f"- not run: {missing}")
    return "\n".join([*lines, *([""] + notes if notes else [])])


def main(names: list[str]) -> None:
    import datetime
    import tempfile
    from importlib.metadata import version

    from tunebook.machine import cpu_field

    record = json.loads(RECORD.read_text(encoding="utf-8")) if names and RECORD.exists() else {"families": {}}
    packages = ("torch", "transformers", "trl", "peft", "llama-cpp-python")
    record |= {"date": datetime.date.today().isoformat(), "processor": cpu_field("model name")}
    record |= {"versions": {name: version(name) for name in packages}}
    with converter() as split:
        for name in names or FAMILIES:
            with tempfile.TemporaryDirectory() as root:
                try:
                    record["families"][name] = run(name, Path(root), split)
                except Exception as problem:  # the next family is tried all the same
                    record["families"][name] = {STEPS[0]: f"WRONG: {problem!r:.300}"}
            record["families"] = {name: record["families"][name] for name in FAMILIES if name in record["families"]}
            RECORD.write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    text = README.read_text(encoding="utf-8")
    before, after = text.split(MARKS[0])[0], text.split(MARKS[1])[1]
    README.write_text(f"{before}{MARKS[0]}\n{table(record)}\n{MARKS[1]}{after}", encoding="utf-8")


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1] / "lib"))
    main(sys.argv[1:])
