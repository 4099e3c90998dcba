"""Who may do what: accounts and roles, as RBAC has them for one namespace."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from serving.cluster.resources import Answer, failure


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """Verbs on resources (``plural.group``, or plural alone); with ``names``, on those objects.

    A request that names no object, such as a create or a list, is never allowed by a rule with
    names.
    """

    resources: frozenset[str]
    verbs: frozenset[str]
    names: frozenset[str] = frozenset()

    def allows(self, resource: str, verb: str, name: str) -> bool:
        """Whether this rule lets a request through."""
        return (
            resource in self.resources
            and verb in self.verbs
            and (not self.names or name in self.names)
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Role:
    """What is allowed in one namespace: verbs by resource (``plural.group``, or plural alone).

    ``rules`` allow more, by the names of objects.
    """

    namespace: str
    verbs: Mapping[str, frozenset[str]] = field(default_factory=dict)
    rules: tuple[Rule, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "verbs", MappingProxyType(dict(self.verbs)))

    def allows(self, resource: str, verb: str, name: str) -> bool:
        """Whether a request in this role's namespace is let through."""
        return verb in self.verbs.get(resource, frozenset()) or any(
            rule.allows(resource, verb, name) for rule in self.rules
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """A user as the server knows them; without a role everything is allowed."""

    user: str
    role: Role | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """What somebody asks for, as authorisation sees it."""

    verb: str
    group: str
    plural: str
    namespace: str
    name: str = ""
    subresource: str = ""
    query: Mapping[str, str] = field(default_factory=dict)


def read_role(manifest: Mapping[str, Any]) -> Role:
    """Return what a Role's manifest allows."""
    rules = [
        Rule(
            resources=frozenset(
                f"{plural}.{group}" if group else plural
                for group in rule["apiGroups"]
                for plural in rule["resources"]
            ),
            verbs=frozenset(rule["verbs"]),
            names=frozenset(rule.get("resourceNames", ())),
        )
        for rule in manifest["rules"]
    ]
    return Role(namespace=manifest["metadata"]["namespace"], rules=tuple(rules))


ADMIN = Account(user="admin")
UNAUTHORIZED = failure(401, "Unauthorized", "Unauthorized")


def forbidden(account: Account, attempt: Attempt) -> Answer | None:
    """Return the refusal of an attempt, or ``None`` when it is allowed."""
    role = account.role
    asked = f"{attempt.plural}/{attempt.subresource}" if attempt.subresource else attempt.plural
    qualified = f"{asked}.{attempt.group}" if attempt.group else asked
    if role is None or (
        role.namespace == attempt.namespace and role.allows(qualified, attempt.verb, attempt.name)
    ):
        return None
    subject = f"{attempt.plural}.{attempt.group}" if attempt.group else attempt.plural
    named = f'{subject} "{attempt.name}"' if attempt.name else subject
    message = (
        f'{named} is forbidden: User "{account.user}" cannot {attempt.verb} resource "{asked}" '
        f'in API group "{attempt.group}" in the namespace "{attempt.namespace}"'
    )
    details = {"name": attempt.name, "group": attempt.group, "kind": attempt.plural}
    return failure(403, "Forbidden", message, {k: v for k, v in details.items() if v})
