"""Export: merge, convert, compare, choose and ship a GGUF file. Notebook 05."""

from tunebook.face import face

__getattr__, __dir__, __all__ = face(
    __name__,
    {
        "rehearse_export": "dry_run",  # the export tried with a random adapter
        "measure_importance": "convert",  # mean squares of inputs, for quantising
        "export_files": "convert",  # GGUF files of a model, by type
        "tensor_types": "convert",  # what types are in a file
        "held_out": "parity",  # dev problems as token ids
        "log_probabilities": "parity",  # of the next token
        "export_checks": "parity",  # is the file the model that was measured?
        "Trial": "choice",  # what every file answers
        "score_on": "choice",  # one score on dev
        "score_types": "choice",  # every file paired with the model
        "smallest_that_holds": "choice",  # the file that ships
        "tensors_of_another_type": "choice",  # fallbacks of a quantisation
        "measure_speed": "serving",  # tokens a second of a file
        "serve_adapters": "serving",  # many adapters on one base file
        "example_of": "ship",  # a recorded answer
        "write_ship": "ship",  # the folder that ships
        "try_smoke": "ship",  # run the script that ships
        "finish_ship": "ship",  # model card and final folder
    },
)
