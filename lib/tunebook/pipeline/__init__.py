"""Parameters, run folders, manifests, the papermill loop and their checks: what every other room stands on."""
