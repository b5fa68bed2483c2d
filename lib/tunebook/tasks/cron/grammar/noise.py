"""What people type around a schedule: verbs and jobs before it, time zones and notes after it, casing, typing errors.

Never changes what a phrase means: a time zone is only named (no conversion), and a typing error touches only one longer
word, never a number, am, pm or a short day name.
"""

import re
from random import Random

from tunebook.tasks.cron.grammar.words import chance, choose

VERBS = (
    "run*12|runs*8|run {job}*5|execute*2|execute {job}|trigger*1.5|trigger {job}|schedule*1.5|schedule {job}"
    "|schedule it*0.5"
    "|start {job}*0.7|launch {job}*0.5|run this*2|run it*1.5|run the job*2|runs automatically*0.7|it should run*0.7"
    "|scheduled"
    "|scheduled to run*0.7|this runs*0.7|please run*0.7|I want to run {job}|I want it to run*0.5|fires*0.5"
    "|job runs*0.5"
    "|this job runs*0.5|repeat*0.4|remind me*2|remind me to {do}*3|{do}*22|{job}*8|{job} runs*2|please {do}*0.7"
    "|we {do}*0.4"
    "|this will run*0.5|will run*0.7|set to run*0.4|should {do}*0.4|a cron job that runs*0.5|a job that runs*0.7"
    "|job to {do}*0.6"
    "|runs {job}*0.7|make it run*0.3|occurs*0.4|happens*0.2|invoked*0.4|fire*0.5|starts*0.5|kick off {job}*0.5"
    "|perform {job}*0.5"
)
DOING = (
    "backup|back up|clean up|sync|update|refresh|check|rotate|purge|delete|archive|fetch|download|pull|publish"
    "|generate|send|email"
    "|post|restart|reboot|scan|monitor|poll|rebuild|build|deploy|reindex|import|export|process|collect|renew|test"
    "|validate|prune"
    "|scrape|crawl|warm|ingest|load|retrain|recalculate|flush|expire|mirror|snapshot|compact|run|review|submit|ping"
    "|upload"
)
OBJECTS = (
    "the database|database|logs|log files|temp files|old records|cache|the cache|certificates|certs|reports"
    "|the report|metrics"
    "|prices|stock data|weather data|user stats|the search index|dependencies|containers|the server|images|sessions"
    "|backups|emails"
    "|invoices|orders|inventory|feeds|news|the website|tokens|the dataset|tables|tickets|timesheets|alerts|dashboards"
    "|the queue"
    "|sitemap|usage data|the repo|stale branches|packages|artifacts|tests|exchange rates|the leaderboard|models"
    "|the newsletter"
    "|reminders|notifications|subscriptions|expired accounts|the board|new messages|data|job listings|payments|files"
    "|the api|results"
)
ABOUT = (
    "database|log|security|data|cache|user|index|full|incremental|dependency|price|report|email|offsite|vulnerability"
    "|inventory"
    "|docker|api|staging|production|cert|file|session|billing|stale issue|health|performance|metrics|content|feed"
    "|link|test"
)
KINDS = (
    "backup*4|cleanup*3|job*2|report*3|sync*3|update*2|scan*2|check*3|build*1.5|digest|summary|export|import"
    "|refresh*2|rotation"
    "|audit|maintenance|run*1.5|task*1.5|script|pipeline|snapshot|tests|reminder|archive|rollup|restart|standup"
    "|newsletter|sweep"
)
ZONES = (
    " UTC*16| (UTC)*4| GMT| EST| ET| PST| CET*0.5| IST| UTC time| local time| server time*0.5| Eastern*0.4"
    "| (server time)*0.4"
    "| (local time)*0.4| (UTC+0)*0.3| London time*0.2| PT*0.4| CST*0.4| JST*0.3| BST*0.2| SGT*0.2| Berlin time*0.2"
)
NOTES = (
    " please|, please| automatically|!*0.5| for testing| (default)| to {do}*4| for {kind}| - {kind}| ({kind})*2"
    "| for the {job}*0.7"
    "|, {kind}*0.5| via cron*0.7| so we can {do}*0.4| in production*0.3| (cron)*0.2| for {job}s*0.5| — {kind}*0.5"
    "| on the server*0.4"
)
OPENINGS = (
    "# *6|- *1|schedule: |Schedule: |cron: *0.5|when: *0.5|// *2|; *0.2|Runs: *0.4|frequency: *0.4|{kind}: *2"
    "|{job}: *2|e.g. *0.3"
    "|example: *0.3|{job} - *0.7|Default: *0.5|{job}, *0.5"
)
CLOCK = re.compile(r"(?<![:\d])(\d{1,2}(:\d\d)? ?[ap]\.?m\b\.?|\d{1,2}:\d\d|midnight|noon)(?=[ ,)]|$)", re.IGNORECASE)
PROTECTED = frozenset(("noon", "midnight", "hour", "hours", "minute", "minutes", "past"))


def dress(rng: Random, phrase: str) -> str:
    """Add what surrounds a schedule in real text, then its casing and, now and then, a typing error."""
    phrase = _compact(rng, phrase)
    if chance(rng, 0.14):
        phrase = _with_zone(rng, phrase)
    drawn = rng.random()
    if drawn < 0.16:
        phrase = _with_verb(rng, phrase)
    elif drawn < 0.25:
        phrase = _with_adjective(rng, phrase)
    if chance(rng, 0.045):
        phrase += choose(rng, NOTES, **_nouns(rng))
    if chance(rng, 0.02):
        phrase = _misspell(rng, phrase)
    phrase = _cased(rng, phrase)
    if chance(rng, 0.025):
        phrase = choose(rng, OPENINGS, **_nouns(rng)) + phrase
    return phrase + ("." if chance(rng, 0.03) and phrase[-1].isalnum() else "")


def _nouns(rng: Random) -> dict[str, str]:
    kind = choose(rng, KINDS)
    about = choose(rng, ABOUT)
    do = f"{choose(rng, DOING)} {choose(rng, OBJECTS)}"
    job = choose(
        rng,
        "the job|the script|the task|a job|this job|my script|the workflow|{about} {kind}*6|the {kind}*3|{kind}*3"
        "|the {about} {kind}",
        about=about,
        kind=kind,
    )
    return {"kind": kind, "job": job, "do": do}


def _compact(rng: Random, phrase: str) -> str:
    """Now and then "@" for "at", or no commas, as in notes."""
    if " at " in phrase and chance(rng, 0.02):
        return phrase.replace(" at ", " @ ", 1)
    if chance(rng, 0.01):
        return phrase.replace(", ", " ")
    return phrase


def _with_zone(rng: Random, phrase: str) -> str:
    """Name a time zone after the last clock time, if there is one."""
    matches = list(CLOCK.finditer(phrase))
    if not matches:
        return phrase + choose(rng, " UTC*3| (UTC)*3| GMT") if chance(rng, 0.08) else phrase
    end = matches[-1].end()
    zone = choose(rng, ZONES)
    return (
        phrase[:end] + (zone.replace("(", "").replace(")", "") if phrase[end:].startswith(")") else zone) + phrase[end:]
    )


def _with_verb(rng: Random, phrase: str) -> str:
    verb = choose(rng, VERBS, **_nouns(rng))
    return f"{verb} {phrase}" if chance(rng, 0.93) else f"{verb}: {phrase}"


def _with_adjective(rng: Random, phrase: str) -> str:
    """ "daily at 2am" becomes "daily backup at 2am" or "daily database backup at 2am"."""
    adjective, _, rest = phrase.partition(" ")
    if adjective not in ("daily", "weekly", "monthly", "hourly", "nightly", "quarterly", "yearly"):
        return phrase
    if rest and not rest.startswith(("at ", "on ", "@ ", "(", "every ", "between ", "from ", "during ")):
        return phrase
    job = choose(rng, "{kind}*2|{about} {kind}", kind=choose(rng, KINDS), about=choose(rng, ABOUT))
    return f"{adjective} {job} {rest}".rstrip()


def _cased(rng: Random, phrase: str) -> str:
    kind = choose(rng, "sentence*42|lower*30|as is*22|title*4|upper*2")
    if kind == "sentence":
        return phrase[:1].upper() + phrase[1:]
    if kind == "lower":
        return phrase.lower()
    if kind == "title":
        return re.sub(r"(?<![\w'])[a-z](?=[a-z]{2})", lambda match: match.group().upper(), phrase)
    return phrase.upper() if kind == "upper" else phrase


def _misspell(rng: Random, phrase: str) -> str:
    """Drop, swap or double one letter inside one word of at least five letters."""
    words = [m for m in re.finditer(r"[A-Za-z]{5,}", phrase) if m.group().lower() not in PROTECTED]
    if not words:
        return phrase
    word = rng.choice(words)
    place = rng.randrange(word.start() + 1, word.end() - 1)
    kind = choose(rng, "drop*4|swap*4|double*2")
    middle = {"drop": "", "swap": phrase[place + 1] + phrase[place], "double": phrase[place] * 2}[kind]
    return phrase[:place] + middle + phrase[place + (2 if kind == "swap" else 1) :]
