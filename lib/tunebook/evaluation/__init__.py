"""From a model's raw text to pass@1: benchmarks, prompts, protocol, completions, extraction and scores."""
