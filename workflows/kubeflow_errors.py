"""What a refusal of the Kubeflow Pipelines API means for whoever submits: what to do about it."""

from __future__ import annotations

import json
from typing import Any

from penstock.errors import ConflictError, UnreachableError, UserError

MOST_TEXT = 500
"""Characters of a server's own words that an error repeats."""
PAGE_ANSWERED = (
    "a web page answers, not the Kubeflow Pipelines API: name the API's own address (behind the "
    "dashboard it ends in /pipeline), and sign in with --token-env or --token-file"
)


def refused(what: str, err: Any, *, signed: bool, namespace: str) -> Exception:
    """Return the error of an answer that is no success; never its headers, which hold cookies."""
    status, said = err.status, _said(err.body)
    if status in (301, 302, 303, 307, 308):
        return UserError(f"{what}: {PAGE_ANSWERED}")
    if status == 401:
        token = "the token is not accepted" if signed else "it wants a token"
        return UserError(f"{what}: {token}{said}; give one with --token-env or --token-file")
    if status == 403:
        where = namespace or "the namespace"
        return UserError(f"{what}: this account may not do that in {where}{said}")
    if status == 404:
        return UserError(
            f"{what}: not there{said}; is it the address of the API? Behind the dashboard it ends "
            "in /pipeline"
        )
    if status == 409:
        return ConflictError(f"{what}: it is there already{said}")
    if status == 429 or not status or status >= 500:
        return UnreachableError(f"{what}: the server has a fault, status {status}{said}")
    return UserError(f"{what}: refused with status {status}{said}")


def _said(body: object) -> str:
    """Return a server's own words, in brackets, from the fields that Kubeflow answers with."""
    text = body.decode(errors="replace") if isinstance(body, bytes) else str(body or "")
    try:
        document = json.loads(text)
    except ValueError:
        return ""
    if not isinstance(document, dict):
        return ""
    words = document.get("message") or document.get("error_message") or document.get("error")
    return f" ({str(words)[:MOST_TEXT]})" if words else ""


def untrusted(what: str, err: BaseException) -> UserError:
    """Return the error of a certificate that nobody known has signed."""
    return UserError(
        f"{what}: its certificate is not trusted ({cause(err)}); name the authority with --ca"
    )


def cause(err: BaseException) -> str:
    """Return what is behind an error of the HTTP client, in its own words."""
    reason = getattr(err, "reason", None)
    return str(reason if isinstance(reason, BaseException) else err)[:MOST_TEXT]
