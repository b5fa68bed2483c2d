"""The judge served as an OpenEnv environment (`tunebook judge`) against `tunebook score`, on 200 programs.

Every hostile program of the runner's tests, then HumanEval's canonical solutions and mutants of them; 16 sessions ask
at once. Some hostile programs may end in one of two ways (they race against two limits): `may_differ` counts those.
"""

import json
import subprocess
import sys
import tempfile
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).parent.parent
PROGRAMS, SESSIONS = 200, 16


def measure() -> dict:
    problems, texts, loose = _programs()
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        rows = [{"task_id": task, "completion": text} for task, text in texts.items()]
        for name, lines in (("problems", problems), ("completions", rows)):
            (home / f"{name}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        benchmark, started = ["--benchmark", str(home / "problems.jsonl")], time.monotonic()
        words = ["score", *benchmark, "--completions", str(home / "completions.jsonl"), "--out", str(home / "s")]
        subprocess.run(_command(words), check=True, stdout=subprocess.DEVNULL)
        scored = time.monotonic() - started
        lines = (home / "s" / "scores.jsonl").read_text().splitlines()
        wanted = {row["task_id"]: row["verdict"] for row in map(json.loads, lines)}
        server = subprocess.Popen(_command(["judge", *benchmark, "--port", "0"]), stdout=subprocess.PIPE, text=True)
        try:
            port = int(server.stdout.readline().split()[0].rpartition(":")[2])
            started = time.monotonic()
            with ThreadPoolExecutor(SESSIONS) as pool:
                found = dict(zip(texts, pool.map(lambda task: _step(port, task, texts[task]), texts)))
            served = time.monotonic() - started
        finally:
            server.terminate()
            server.wait(120)
    other = {task: [wanted[task], found[task]["verdict"]] for task in texts if wanted[task] != found[task]["verdict"]}
    rewards = sum(found[task]["reward"] == (wanted[task] == "pass") for task in texts)
    kinds = Counter("hostile" if task.startswith("hostile") else task.partition(" ")[0] for task in texts)
    return {
        "programs": dict(kinds),
        "same_reward": rewards,
        "same_verdict": len(texts) - len(other),
        "other_verdict": other,
        "may_differ": sorted(loose),
        "verdicts": dict(Counter(wanted.values()).most_common()),
        "score_seconds_with_its_self_check": round(scored, 1),
        "served_seconds": round(served, 1),
    }


def _command(words: list[str]) -> list[str]:
    start = f"import sys; sys.path.insert(0, {str(ROOT / 'lib')!r}); from tunebook.cli import main; "
    return [sys.executable, "-c", f"{start}sys.exit(main({words!r}))"]


def _programs() -> tuple[list[dict], dict[str, str], set[str]]:
    """Problems, the completion of each, and the problems whose verdict may be one of several."""
    sys.path.insert(0, str(ROOT / "tests" / "execution"))
    import test_programs as hostile
    from tunebook.evaluation.audit import of_program
    from tunebook.evaluation.benchmark import load_benchmark

    double = {"prompt": hostile.PROMPT, "entry_point": "double", "canonical_solution": "    return x + x\n"}
    groups = (hostile.FAIL, hostile.FORGED, hostile.ABUSE, hostile.LEAVES, hostile.SECOND_WAVE, hostile.THIRD_WAVE)
    named = {name: (text, {"pass"}) for name, text in hostile.PASS.items()}
    named |= {name: found for group in groups for name, found in group.items()}
    problems = [double | {"task_id": f"hostile {name}", "test": hostile.TEST} for name in named]
    texts = {f"hostile {name}": text for name, (text, _) in named.items()}
    loose = {name for name, (_, verdicts) in named.items() if len(verdicts) > 1}
    for problem in load_benchmark("humaneval").problems:
        solution = problem["canonical_solution"]
        mutants = of_program(problem["prompt"], solution, 1)
        for kind, text in [("canonical", solution), *(("mutant", text) for _, text in mutants)]:
            if len(texts) < PROGRAMS:
                problems.append(problem | {"task_id": f"{kind} {problem['task_id']}"})
                texts[f"{kind} {problem['task_id']}"] = text
    return problems, texts, loose


def _step(port: int, task: str, text: str) -> dict:
    """`verdict` and `reward` of one episode in a session of its own."""
    from websocket import create_connection

    session = create_connection(f"ws://127.0.0.1:{port}/ws", timeout=600)
    for kind, data in (("reset", {"task_id": task}), ("step", {"completion": text})):
        session.send(json.dumps({"type": kind, "data": data}))
        answer = json.loads(session.recv())["data"]
    session.close()
    return {"verdict": answer["observation"]["verdict"], "reward": answer["reward"]}
