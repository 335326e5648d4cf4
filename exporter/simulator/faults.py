"""Misbehaviour on command: which requests a rule hits, how often, and what then happens to the answer.

Rules are looked at in the order they were added. Of the rules that replace the whole answer only the first
takes effect on a request, so that several of them with `times` play one after another; all others add up.
A replaced or reset answer to a command means that nothing was done, and so does a slow one that nobody waited
for; with `applied=True` among the parameters it was done all the same, and before any delay.

Kinds and their parameters
    replacing  status (status, retry_after seconds, or retry_after_date seconds ahead, message, code)
               html_outage (status=503)  login_page  empty_body (status=200)  data_null  error_with_200
               not_json (text)  not_object (value)  oversized (mebibytes=1, chunked=False)
               no_route  login_outcome (outcome; see login.py)
    travelling slow (seconds)  reset  cut  chunked
    shape      flat_shape  enveloped_shape  keyed_shape
    bending    those of bend.BENDERS; clock_skew (seconds) moves the Date header too
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from email.utils import formatdate
from typing import Any

from exporter.simulator import wire
from exporter.simulator.answer import LOGIN_PAGE, OUTAGE_PAGE, Answer, Delivery, empty, html
from exporter.simulator.bend import BENDERS, Params
from exporter.simulator.login import OUTCOMES

SHAPES = {"flat_shape": "flat", "enveloped_shape": "enveloped", "keyed_shape": "keyed"}
DELIVERIES = {"reset": Delivery.RESET, "cut": Delivery.CUT, "chunked": Delivery.CHUNKED}
MEBIBYTE = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Moment:
    """When an answer is made, in simulated and real epoch seconds, and to what path."""

    simulated: float
    real: float
    path: str = ""


@dataclass(frozen=True, slots=True)
class Hit:
    """One request, as far as rules tell requests apart."""

    endpoint: str
    site_id: str | None
    method: str
    path: str
    body: bytes


@dataclass
class Rule:
    """One fault: what it does, to which requests, and how many more times (None: for ever).

    A request is meant when it agrees with every criterion that is not None.
    """

    kind: str
    endpoint: str = "*"
    site: str | None = None
    times: int | None = None
    params: dict[str, Any] = field(default_factory=dict)
    method: str | None = None
    path_contains: str | None = None
    body_contains: str | None = None

    def hits(self, request: Hit) -> bool:
        """Whether a request is one of those meant."""
        return (
            self.times != 0
            and self.endpoint in {"*", request.endpoint}
            and self.site in {None, request.site_id}
            and self.method in {None, request.method}
            and (self.path_contains or "") in request.path
            and (self.body_contains or "").encode() in request.body
        )

    def use(self) -> None:
        """Counts one use."""
        if self.times is not None:
            self.times -= 1

    def public(self) -> dict[str, Any]:
        """For the admin page."""
        criteria = {name: getattr(self, name) for name in ("method", "path_contains", "body_contains")}
        return {
            "kind": self.kind,
            "endpoint": self.endpoint,
            "site": self.site,
            "times": self.times,
            **{name: value for name, value in criteria.items() if value is not None},
            **self.params,
        }


@dataclass
class Plan:
    """What the rules that hit one request ask for; `applied`: it is obeyed whatever becomes of its answer."""

    delay_seconds: float = 0.0
    applied: bool = False
    shape: str | None = None
    replacement: Rule | None = None
    login_outcome: str | None = None
    benders: list[Rule] = field(default_factory=list)
    delivery: Delivery | None = None
    skew_seconds: float = 0.0

    def bend(self, answer: Answer) -> Answer:
        """The answer with every oddity in it."""
        if answer.payload is not None and answer.status < 400:
            for rule in self.benders:
                answer.payload = BENDERS[rule.kind](answer.payload, rule.params)
        if self.delivery is not None:
            answer.delivery = self.delivery
        return answer


NO_PLAN = Plan()


class Faults:
    """The rules in force."""

    def __init__(self) -> None:
        self.rules: list[Rule] = []

    def add(
        self,
        kind: str,
        *,
        endpoint: str = "*",
        site: str | None = None,
        times: int | None = None,
        method: str | None = None,
        path_contains: str | None = None,
        body_contains: str | None = None,
        **params: Any,
    ) -> Rule:
        """Puts a rule in force; ValueError when there is no such kind or login outcome."""
        if kind not in KINDS:
            raise ValueError(f"no fault kind {kind!r}; there are: {', '.join(sorted(KINDS))}")
        if kind == "login_outcome" and params.get("outcome") not in OUTCOMES:
            raise ValueError(f"no login outcome of that name; there are: {', '.join(sorted(OUTCOMES))}")
        rule = Rule(kind, endpoint, site, times, params, method, path_contains, body_contains)
        self.rules.append(rule)
        return rule

    def clear(self) -> None:
        """Everything works again."""
        self.rules.clear()

    def plan(self, request: Hit) -> Plan:
        """What to do to a request, counting the rules used."""
        if not self.rules:
            return NO_PLAN
        plan = Plan()
        for rule in self.rules:
            if rule.hits(request) and _enlist(plan, rule):
                plan.applied = plan.applied or bool(rule.params.get("applied"))
                rule.use()
        self.rules = [rule for rule in self.rules if rule.times != 0]
        return plan


def replace(rule: Rule, moment: Moment) -> Answer:
    """The answer a replacing rule puts in place of the real one."""
    return REPLACEMENTS[rule.kind](rule.params, moment)


def _enlist(plan: Plan, rule: Rule) -> bool:
    """Writes the rule into the plan; False when it has to wait for a later request."""
    kind, params = rule.kind, rule.params
    if kind in REPLACEMENTS or kind == "login_outcome":
        if plan.replacement is not None or plan.login_outcome is not None:
            return False
        if kind == "login_outcome":
            plan.login_outcome = str(params["outcome"])
        else:
            plan.replacement = rule
    elif kind in SHAPES:
        plan.shape = SHAPES[kind]
    elif kind in DELIVERIES:
        plan.delivery = DELIVERIES[kind]
    elif kind == "slow":
        plan.delay_seconds += float(params.get("seconds", 1.0))
    else:
        plan.benders.append(rule)
        if kind == "clock_skew":
            plan.skew_seconds += float(params.get("seconds", 3600))
    return True


def _status(params: Params, moment: Moment) -> Answer:
    status = int(params.get("status", 500))
    message = str(params.get("message", "The service cannot do this now."))
    answer = wire.refusal(status, message, moment.simulated, params.get("code"))
    if params.get("retry_after") is not None:
        answer.headers["Retry-After"] = str(params["retry_after"])
    if params.get("retry_after_date") is not None:
        ahead = float(params["retry_after_date"])
        answer.headers["Retry-After"] = formatdate(moment.real + ahead, usegmt=True)
    return answer


def _error_with_200(params: Params, moment: Moment) -> Answer:
    payload = wire.refusal_payload(503, "Service unavailable", moment.simulated, "iqevc_ms-10007")
    return Answer(int(params.get("status", 200)), payload)


def _oversized(params: Params, _moment: Moment) -> Answer:
    size = int(float(params.get("mebibytes", 1)) * MEBIBYTE)
    body = b'{"data":{"chargers":[]},"error":{}' + b" " * size + b"}"
    return Answer(text=body, delivery=Delivery.CHUNKED if params.get("chunked") else Delivery.WHOLE)


REPLACEMENTS: dict[str, Callable[[Params, Moment], Answer]] = {
    "status": _status,
    "html_outage": lambda params, _: html(OUTAGE_PAGE, int(params.get("status", 503))),
    "login_page": lambda params, _: html(LOGIN_PAGE, int(params.get("status", 200))),
    "empty_body": lambda params, _: empty(int(params.get("status", 200))),
    "data_null": lambda _, moment: Answer(payload=wire.envelope(None, moment.simulated)),
    "error_with_200": _error_with_200,
    "not_json": lambda params, _: Answer(text=str(params.get("text", '{"data": {"chargers": ['))),
    "not_object": lambda params, _: Answer(payload=params.get("value", [1, 2, 3])),
    "oversized": _oversized,
    "no_route": lambda _, moment: wire.no_static_resource(moment.path),
}
KINDS = {*REPLACEMENTS, *SHAPES, *DELIVERIES, *BENDERS, "slow", "login_outcome"}
