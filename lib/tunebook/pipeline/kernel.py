"""The kernel that the runner starts: ipykernel of this very Python, ended together with the runner. Not used by JupyterLab."""

import os

from ipykernel.kernelapp import IPKernelApp

from tunebook.pipeline.parent import die_with_parent

if __name__ == "__main__":
    die_with_parent(int(os.environ["JPY_PARENT_PID"]))
    IPKernelApp.launch_instance()
