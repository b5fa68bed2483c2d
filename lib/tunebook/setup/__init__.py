"""Set-up: the environment from requirements.txt, wheels by hash, llama.cpp compiled for this CPU."""
