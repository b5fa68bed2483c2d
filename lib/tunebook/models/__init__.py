"""Models: where they come from, on what they run, how their prompts are rendered, how they generate."""
