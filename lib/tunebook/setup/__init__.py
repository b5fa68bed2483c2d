"""Set-up: the environment from requirements.txt, wheels by hash, llama.cpp, Colab, JupyterLab."""

from tunebook.face import face

__getattr__, __dir__, __all__ = face(
    __name__,
    {
        "prepare": "colab",  # on Colab: the kit's packages in front of Colab's own
    },
)
