"""What the checks of a stage come to: pass, warn or fail, and the rules that were broken, in words. Does not measure anything."""


def gate(checks: list[dict]) -> str:
    """Status of a stage: fail on any error row that is not ok, warn on any warn row, else pass."""
    severities = {check["severity"] for check in checks if not check["ok"]}
    return "fail" if "error" in severities else "warn" if "warn" in severities else "pass"


def broken(checks: list[dict], severities: tuple[str, ...] = ("error",)) -> list[str]:
    """The rules that were broken, one sentence each.

    >>> broken([{"name": "rows", "measured": 3, "rule": "at least 9", "ok": False, "severity": "error"}])
    ['rows is 3, rule at least 9']
    """
    rows = [check for check in checks if not check["ok"] and check["severity"] in severities]
    return [f"{check['name']} is {check['measured']}, rule {check['rule']}" for check in rows]


def status_line(name: str, status: str, checks: list[dict]) -> str:
    """One line: status, and every row that is the reason for it."""
    return f"{name}: {status} ({'; '.join(broken(checks, ('error', 'warn'))) or f'{len(checks)} checks hold'})"
