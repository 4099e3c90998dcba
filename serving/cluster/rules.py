"""Validation rules of a schema (``x-kubernetes-validations``), for the part of CEL they use.

Understood: ``has``, ``size``, ``all``, ``exists``, ``matches``, ``contains``, ``startsWith``,
``endsWith``, the operators ``? : || && ! == != < <= > >= in + -``, literals, and fields. A rule
that needs more is not checked, and :func:`broken_rules` leaves it out rather than guess.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from serving.cluster import faults
from serving.cluster.faults import Fault

Scope = Mapping[str, Any]
Node = Callable[[Scope], Any]


class UnsupportedRuleError(Exception):
    """The rule uses something outside the part of CEL that is understood here."""


def broken_rules(
    value: Any, schema: Mapping[str, Any], old: Any, path: str = ""
) -> Iterator[Fault]:
    """Yield a fault for each rule, at any depth, that does not hold.

    Rules about a change (``oldSelf``) are tried when there is an old value.
    """
    for rule in schema.get("x-kubernetes-validations", ()):
        if not _holds(rule["rule"], value, old):
            where = f"{path}{rule.get('fieldPath', '')}"
            yield faults.broken_rule(where, rule.get("message") or f"failed rule: {rule['rule']}")
    if isinstance(value, Mapping):
        for key, inner in value.items():
            known = schema.get("properties", {}).get(key) or schema.get("additionalProperties")
            if isinstance(known, Mapping):
                before = old.get(key) if isinstance(old, Mapping) else None
                where = f"{path}.{key}" if path else key
                yield from broken_rules(inner, known, before, where)
    elif isinstance(value, list):
        for i, item in enumerate(value):
            yield from broken_rules(item, schema.get("items", {}), None, f"{path}[{i}]")


def evaluate(rule: str, scope: Scope) -> Any:
    """Return the value of a CEL expression.

    Raises:
        UnsupportedRuleError: it uses something that is not understood here.
    """
    return _parse(rule)(scope)


def _holds(rule: str, value: Any, old: Any) -> bool:
    if "oldSelf" in rule and old is None:
        return True
    try:
        return bool(evaluate(rule, {"self": value, "oldSelf": old}))
    except UnsupportedRuleError:
        return True
    except (KeyError, TypeError, AttributeError, IndexError):
        return False  # CEL: a rule whose evaluation fails does not hold


_TOKEN = re.compile(
    r"\s*(?:(?P<number>\d+)|(?P<text>'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\")"
    r"|(?P<name>[A-Za-z_]\w*)|(?P<sign>\|\||&&|[<>=!]=|[-+!<>?:.,()\[\]]))"
)
_RELATIONS: Mapping[str, Callable[[Any, Any], Any]] = {
    "==": lambda a, b: a == b,
    "!=": lambda a, b: a != b,
    "<": lambda a, b: a < b,
    "<=": lambda a, b: a <= b,
    ">": lambda a, b: a > b,
    ">=": lambda a, b: a >= b,
    "in": lambda a, b: a in b,
}
_SUMS: Mapping[str, Callable[[Any, Any], Any]] = {"+": lambda a, b: a + b, "-": lambda a, b: a - b}
_METHODS: Mapping[str, Callable[[Any, Any], Any]] = {
    "matches": lambda a, b: re.search(b, a, re.ASCII) is not None,
    "contains": lambda a, b: b in a,
    "startsWith": lambda a, b: a.startswith(b),
    "endsWith": lambda a, b: a.endswith(b),
}
_WORDS = {"true": True, "false": False, "null": None}


@lru_cache(maxsize=256)
def _parse(rule: str) -> Node:
    tokens: list[tuple[str, str]] = []
    at = 0
    while rule[at:].strip():
        match = _TOKEN.match(rule, at)
        if match is None:
            raise UnsupportedRuleError(rule)
        tokens.append((str(match.lastgroup), match.group(str(match.lastgroup))))
        at = match.end()
    parser = _Parser(rule=rule, tokens=tokens)
    node = parser.ternary()
    if parser.at < len(tokens):
        raise UnsupportedRuleError(rule)
    return node


@dataclass(slots=True, kw_only=True)
class _Parser:
    """Recursive descent, one method per level of precedence, loosest first."""

    rule: str
    tokens: Sequence[tuple[str, str]]
    at: int = 0

    def ternary(self) -> Node:
        test = self._or()
        if not self._take("?"):
            return test
        yes = self.ternary()
        self._need(":")
        no = self.ternary()
        return lambda s: yes(s) if test(s) else no(s)

    def _or(self) -> Node:
        parts = [self._and()]
        while self._take("||"):
            parts.append(self._and())
        return parts[0] if len(parts) == 1 else lambda s: any(p(s) for p in parts)

    def _and(self) -> Node:
        parts = [self._relation()]
        while self._take("&&"):
            parts.append(self._relation())
        return parts[0] if len(parts) == 1 else lambda s: all(p(s) for p in parts)

    def _relation(self) -> Node:
        left = self._sum()
        word = self._peek()
        if word not in _RELATIONS:
            return left
        self.at += 1
        right, compare = self._sum(), _RELATIONS[word]
        return lambda s: compare(left(s), right(s))

    def _sum(self) -> Node:
        left = self._unary()
        while self._peek() in _SUMS:
            combine = _SUMS[self._peek()]
            self.at += 1
            left = _binary(combine, left, self._unary())
        return left

    def _unary(self) -> Node:
        if self._take("!"):
            inner = self._unary()
            return lambda s: not inner(s)
        if self._take("-"):
            inner = self._unary()
            return lambda s: -inner(s)
        return self._member()

    def _member(self) -> Node:
        node = self._primary()
        while self._peek() in (".", "["):
            if self._take("["):
                node = _binary(lambda a, b: a[b], node, self.ternary())
                self._need("]")
                continue
            self._need(".")
            name = self._name()
            node = self._method(node, name) if self._take("(") else _field(node, name)
        return node

    def _method(self, node: Node, name: str) -> Node:
        if name in ("all", "exists"):
            return self._quantified(node, any if name == "exists" else all)
        if name == "size":
            self._need(")")
            return lambda s: len(node(s))
        if name not in _METHODS:
            raise UnsupportedRuleError(self.rule)
        argument = self.ternary()
        self._need(")")
        return _binary(_METHODS[name], node, argument)

    def _quantified(self, node: Node, quantifier: Callable[[Any], bool]) -> Node:
        name = self._name()
        self._need(",")
        test = self.ternary()
        self._need(")")
        return lambda s: quantifier(test({**s, name: item}) for item in node(s))

    def _primary(self) -> Node:
        if self._take("("):
            inner = self.ternary()
            self._need(")")
            return inner
        if self._take("["):
            return self._list()
        kind, text = self._next()
        if kind == "number":
            return lambda _: int(text)
        if kind == "text":
            return lambda _: re.sub(r"\\(.)", r"\1", text[1:-1])
        if kind != "name":
            raise UnsupportedRuleError(self.rule)
        if text in _WORDS:
            return lambda _: _WORDS[text]
        return self._call(text) if self._take("(") else lambda s: s[text]

    def _list(self) -> Node:
        items: list[Node] = []
        while not self._take("]"):
            items.append(self.ternary())
            if self._peek() != "]":
                self._need(",")
        return lambda s: [item(s) for item in items]

    def _call(self, name: str) -> Node:
        if name not in ("has", "size"):
            raise UnsupportedRuleError(self.rule)
        argument = self._member()
        self._need(")")
        return (lambda s: _has(argument, s)) if name == "has" else (lambda s: len(argument(s)))

    def _peek(self) -> str:
        return self.tokens[self.at][1] if self.at < len(self.tokens) else ""

    def _take(self, sign: str) -> bool:
        if self._peek() != sign:
            return False
        self.at += 1
        return True

    def _need(self, sign: str) -> None:
        if not self._take(sign):
            raise UnsupportedRuleError(self.rule)

    def _next(self) -> tuple[str, str]:
        if self.at >= len(self.tokens):
            raise UnsupportedRuleError(self.rule)
        self.at += 1
        return self.tokens[self.at - 1]

    def _name(self) -> str:
        kind, text = self._next()
        if kind != "name":
            raise UnsupportedRuleError(self.rule)
        return text


def _binary(combine: Callable[[Any, Any], Any], left: Node, right: Node) -> Node:
    return lambda s: combine(left(s), right(s))


def _field(node: Node, name: str) -> Node:
    return lambda s: node(s)[name]


def _has(node: Node, scope: Scope) -> bool:
    try:
        node(scope)
    except KeyError:
        return False
    return True
