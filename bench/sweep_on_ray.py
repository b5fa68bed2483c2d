"""Proof on demand: the smoke sweep on a Ray cluster of two nodes of this machine, with one worker killed as it trains.

`python bench/sweep_on_ray.py OUTPUTS`, after `pip install -r requirements-sweep.txt`. Ends with exit code 0 when every
point has its score although a worker was lost.
"""

import os
import re
import signal
import socket
import sys
import threading
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PORTS = ("metrics_agent_port", "runtime_env_agent_port", "dashboard_agent_listen_port", "metrics_export_port")


def free_ports() -> dict:
    """Ports named beforehand: Ray gives up on a busy machine while it waits to be told those that it chose."""
    sockets = [socket.create_server(("", 0)) for _ in PORTS]
    found = {name: one.getsockname()[1] for name, one in zip(PORTS, sockets, strict=True)}
    for one in sockets:
        one.close()
    return found


def kill_one(outputs: Path) -> None:
    """SIGKILL to the first worker that trains."""
    while True:
        for progress in outputs.glob("smoke.*/02_train_sft/progress.json"):
            holder = re.search(r"process (\d+)", (progress.parents[1] / ".lock").read_text())
            print(f"killed: process {holder[1]}, which trains {progress.parents[1].name}", flush=True)
            return os.kill(int(holder[1]), signal.SIGKILL)
        time.sleep(0.3)


def main(outputs: Path) -> int:
    os.environ |= {"TUNEBOOK_ROOT": str(ROOT), "TUNEBOOK_OUTPUTS": str(outputs), "RAY_USAGE_STATS_ENABLED": "0"}
    os.environ |= {"RAY_raylet_start_wait_time_s": "200", "RAY_agent_register_timeout_ms": "180000"}
    sys.path.insert(0, str(ROOT / "lib"))
    from ray.cluster_utils import Cluster

    from tunebook.scale.sweep import run_sweep

    head = {"num_cpus": 1, "include_dashboard": False, **free_ports()}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    cluster.add_node(num_cpus=1, **free_ports())
    threading.Thread(target=kill_one, args=(outputs,), daemon=True).start()
    try:
        return run_sweep(ROOT, "smoke", address=cluster.address)
    finally:
        cluster.shutdown()


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]).absolute()))
