"""Every error penstock raises on purpose.

::

    PenstockError                 anything below; the CLI prints it without a traceback
    ├── UserError                 a person must act: exit code 2
    │   ├── DomainError           a value that makes no sense
    │   ├── SpecError             a document with faults, all of them, each with its path
    │   ├── ProfileError          a profile that is missing or does not fit
    │   ├── ArtifactError         an artifact that is missing, broken or would be overwritten
    │   ├── ManifestError         a manifest the cluster would refuse
    │   └── MissingToolError      a program or a package that has to be installed
    ├── BrokenPromiseError        a plan that does not keep its promises: a defect, never applied
    └── RetryLaterError           the next tick may well succeed: exit code 3
        ├── SourceError           load data could not be had
        ├── ConflictError         somebody else wrote first
        ├── NotFoundError         the object is not there
        ├── NotReadyError         it did not become ready in its time
        ├── UnderWayError         what was begun goes on; nothing else is decided meanwhile
        └── UnreachableError      a store, a cluster or a server did not answer

Foreign exceptions are translated where they enter (``raise … from``), so none of theirs leaves a
port.
"""

from __future__ import annotations

from collections.abc import Sequence


class PenstockError(Exception):
    """Anything penstock raises on purpose."""

    exit_code = 1


class UserError(PenstockError):
    """A person must act; trying again changes nothing."""

    exit_code = 2


class BrokenPromiseError(PenstockError):
    """A plan whose promises do not hold when they are recomputed: a defect, never applied."""


class RetryLaterError(PenstockError):
    """The next tick may well succeed; nobody needs to act yet."""

    exit_code = 3


class DomainError(UserError, ValueError):
    """A value that makes no sense."""


class SpecError(UserError):
    """A document with faults: all of them at once, each as ``path: what is wrong``."""

    def __init__(self, source: str, faults: Sequence[str]) -> None:
        self.source = source
        self.faults = tuple(faults)
        count = "1 fault" if len(faults) == 1 else f"{len(faults)} faults"
        super().__init__("\n".join([f"{source}: {count}", *(f"  {fault}" for fault in faults)]))


class ProfileError(UserError):
    """A profile that is missing or does not fit what is asked."""


class ArtifactError(UserError):
    """An artifact that is missing, broken, or would be overwritten with other content."""


class ManifestError(UserError):
    """A manifest that the cluster would refuse."""


class MissingToolError(UserError):
    """A program or package that has to be installed first."""


class SourceError(RetryLaterError):
    """Load data could not be had."""


class ConflictError(RetryLaterError):
    """Somebody else wrote the object first."""


class NotFoundError(RetryLaterError):
    """The object is not there."""


class NotReadyError(RetryLaterError):
    """It did not become ready in its time."""


class UnderWayError(RetryLaterError):
    """What was begun goes on; nothing else is decided meanwhile, and nothing is wrong."""


class UnreachableError(RetryLaterError):
    """A store, a cluster or a server did not answer."""
