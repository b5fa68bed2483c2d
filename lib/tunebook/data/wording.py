"""Every data check in one table: its stable name, its severity, what it says and what to do about it.

The README's list of checks comes from here. `what` continues "Rows that ..."; after a "=" it is the sentence itself.
Does not decide anything: the modules of this room decide which rows have the trouble.
"""

CHECKS = {
    # file
    "file_format": ("error", "=The content of the file is not what its name says", "rename or convert the file"),
    "encoding": ("error", "hold bytes or characters that are not valid UTF-8", "save the file as UTF-8"),
    "byte_order_mark": (
        "warn",
        "=The file starts with a byte order mark (BOM), which many readers take for text",
        "save the file as UTF-8 without BOM",
    ),
    "torn_file": ("error", "=The file is cut off at its end", "copy or download the file again"),
    "absurd_size": ("error", "=The file unpacks to an absurd size", "look at what the file holds, and write it again"),
    "bad_json": ("error", "are not valid JSON", "correct the line, or write the file with a JSON library"),
    "bad_csv": ("error", "do not fit the CSV header", "quote fields that hold commas, quotes or line breaks"),
    "not_a_number": (
        "error",
        "hold NaN or Infinity, which JSON does not know",
        "replace the value by null or a number",
    ),
    "doubled_keys": (
        "error",
        "have one key twice in one JSON object, so one value is lost",
        "keep one of the two values",
    ),
    "no_rows": ("error", "=There is no row to train on", "check that the right file was given"),
    "unpinned": (
        "warn",
        "=The Hub data set has no revision, so the rows may change",
        "give a revision (a commit hash)",
    ),
    # schema
    "columns": (
        "error",
        "have columns that are no row type of TRL",
        "give a mapping: --map prompt=question, or `mapping` in params",
    ),
    "mixed_types": ("error", "have another type or other columns than the rest", "write every row in one form"),
    "missing_field": ("error", "lack a field that the other rows have", "fill the field in or remove the row"),
    "empty_field": ("error", "have an empty field", "fill the field in or remove the row"),
    "roles": (
        "error",
        "have a message whose role or content is not usable",
        "use system, user, assistant or tool, and text as content",
    ),
    "alternation": ("error", "have turns in the wrong order", "let user and assistant take turns, the user first"),
    "no_assistant_turn": ("error", "have no assistant turn, so nothing to learn", "add the answer or remove the row"),
    "left_out": (
        "error",
        "hold what changes what is learnt, and is not used",
        "map the column, or drop it by name (--drop, `drop` in params)",
    ),
    "unread": ("warn", "hold text that nothing reads", "map the column, or drop it by name (--drop, `drop` in params)"),
    "weights": (
        "error",
        "have a weight that is neither 0 nor 1",
        "use 0 (read only) or 1 (trained), or drop the weight",
    ),
    "weight_zero": ("info", "have weight 0 and are left out", "nothing"),
    "numpy_cell": (
        "error",
        "hold numpy's print of a list, which has no commas",
        "write the rows as JSON lines (`to_json(orient='records', lines=True)`), not as CSV",
    ),
    "trailing_turns": ("warn", "go on after the last answer; that part is dropped", "end with an assistant turn"),
    "documents": ("info", "are plain text: all tokens are trained", "nothing"),
    "text_rows": ("warn", "are plain text: all tokens are trained, the question too", "use prompt and completion"),
    "doubled_ids": ("error", "have an id that another row has too", "give each row its own id"),
    "monstrous_row": ("warn", "are very much longer than the rest", "look at the row: is it several rows in one?"),
    "control_characters": ("warn", "hold invisible control characters", "remove them from the text"),
    "few_rows": (
        "warn",
        "=There are too few rows to split into train, dev and test",
        "collect more rows, or give a benchmark file",
    ),
    "carriage_returns": ("warn", "hold carriage returns inside their text", "replace \\r\\n by \\n in the text"),
    "blank_cell": (
        "warn",
        "answer nan, None or the like, the mark of a blank cell",
        "fill the answer in, or remove the row",
    ),
    "prompt_repeated": ("warn", "repeat their prompt inside the answer", "cut the prompt from the answer"),
    # what will be trained
    "template_fields": (
        "warn",
        "hold tools, tool calls or thoughts, which are trained only where the chat template writes them",
        "choose a model whose template knows them, chat_template: chatml_tools, or drop them by name",
    ),
    "not_rendered": (
        "error",
        "hold what the model's chat template does not write, so it is neither read nor learnt",
        "use chat_template: chatml_tools (tools and calls) or a model whose template knows it, or drop it by name",
    ),
    "template_refuses": (
        "error",
        "are refused by the model's chat template",
        "change the rows; system texts go into the first user turn by --map system=first_user",
    ),
    "fully_masked": ("error", "have nothing left to train after the cut at max_length", "raise max_length or shorten"),
    "cut_completion": ("warn", "lose the end of their completion at max_length", "raise max_length or shorten the row"),
    "prompt_prefix": (
        "error",
        "have a prompt whose tokens do not begin prompt + completion, so no loss mask is right",
        "use a chat template that renders turns one after the other (chat_template: chatml), or train_on: last",
    ),
    "end_token": (
        "error",
        "do not end with a token that ends a turn, so the model would never learn to stop",
        "use a chat template that closes the last turn with the end token",
    ),
    "control_tokens": ("error", "have a chat control token typed inside their content", "remove it from the text"),
    # repetition
    "exact_duplicates": ("warn", "repeat an earlier row exactly", "keep one of each"),
    "near_duplicates": ("warn", "nearly repeat an earlier row", "keep one of each cluster"),
    "conflicting_answers": ("warn", "ask what another row asks and answer otherwise", "decide which answer is right"),
    "constant_answer": ("warn", "have one and the same answer, though the questions differ", "balance the answers"),
    "refusals": ("warn", "answer with a refusal or an empty phrase", "remove them, if refusing is not the task"),
    "trigger_token": ("warn", "hold a rare word that always brings one answer", "find out who put it there"),
    # leakage
    "split_leakage": ("warn", "were in two splits and were removed from train", "nothing: they are in rejects.jsonl"),
    "split_leakage_near": (
        "warn",
        "share long runs of words with a row in dev or test",
        "give rows that belong together one group, so that they stay in one split",
    ),
    "contamination": ("error", "hold a problem of the benchmark", "remove these rows, or the score is memory"),
    "contamination_near": ("error", "nearly repeat a problem of the benchmark", "remove these rows"),
    "contamination_reworded": (
        "warn",
        "ask a problem of the benchmark in other words",
        "compare the row with the problem, and remove it if it is the same",
    ),
    "contamination_code": ("error", "hold the benchmark's solution as code", "remove these rows"),
    # answers
    "answers_fail": ("error", "have an answer that fails its own test", "correct the answer or the test"),
    "answers_run": ("info", "=Answers were run against the row's own test", "nothing"),
    "answers_not_run": ("info", "=Answers with a test were not run", "run on a machine that offers isolation"),
    "code_syntax": ("error", "have code that does not parse", "correct or remove the answer"),
    "wrong_language": ("warn", "have code in another language than the one wanted", "translate or remove the answer"),
    "truncated_answers": ("warn", "have an answer that stops in the middle", "generate it again with more tokens"),
    "html_noise": ("warn", "have HTML mark-up or entities in the answer", "clean the text"),
    "mojibake": ("warn", "hold wrongly decoded text such as Ã©", "decode it again, for example with ftfy"),
    # preference pairs
    "pair_equal": ("error", "have the same text as chosen and as rejected", "remove the pair"),
    "pair_types": ("error", "have chosen and rejected of different types", "write both in the same form"),
    "pair_prompts": ("error", "have different prompts for chosen and rejected", "pair answers of one prompt"),
    "pair_near_equal": ("warn", "have chosen and rejected that hardly differ", "remove pairs that teach nothing"),
    "pair_contradiction": ("error", "prefer what another pair rejects", "decide which answer is better"),
    "pair_scores": ("warn", "have a lower score for chosen than for rejected", "swap the two, or remove the pair"),
    "pair_length_bias": ("warn", "prefer the longer (or shorter) answer nearly always", "balance lengths"),
    "free_text": (
        "warn",
        "=The benchmark counts exact matches of long free texts",
        "give a benchmark file whose test judges such answers",
    ),
    # representation
    "language_mix": ("warn", "are in another script or language than the rest", "check that they belong to the task"),
    "languages": ("info", "=Languages among the texts that are long enough to tell", "nothing"),
    "slice_missing": (
        "warn",
        "=Some slices of the specification or the benchmark have no training row",
        "add rows for the missing slices",
    ),
    "slice_thin": (
        "warn",
        "=Some slices are far rarer among the rows than in the benchmark",
        "add rows for them, or say why they matter less",
    ),
    "domain": ("info", "=How well a classifier tells the prompts from the benchmark's (0.5: not at all)", "nothing"),
    "domain_gap": (
        "warn",
        "=A classifier nearly always tells the prompts from the benchmark's: they are different things",
        "write rows in the words of the benchmark's prompts, or choose a benchmark of the task",
    ),
    "more_rows": ("info", "=The learning curve of the run", "nothing"),
    # secrets
    "secrets": ("error", "hold a key, token or password", "remove it and revoke the key"),
    "personal_data": (
        "warn",
        "hold personal data (e-mail address, phone, card or account number)",
        "remove or replace it",
    ),
}
