"""Every error this package raises, one tree, and what each means to a caller.

    ClaudeFlowDaggerError
    ├── RefusedInput            (also ValueError)   the request is wrong; nothing was changed      exit 2
    │   ├── InvalidJob                              a job file or argument: field, line, column
    │   ├── InvalidScript                           a model script
    │   ├── InvalidSource                           the workspace directory
    │   ├── UnknownCommand                          claude-flow has no such command or subcommand
    │   ├── UnknownPrice                            a USD budget on a model without a price
    │   ├── MissingKey                              no credential for the model
    │   └── UnsafeRun                               the asked isolation cannot be given here
    ├── InfrastructureError     (also RuntimeError) this machine, not the request                  exit 75
    │   ├── RuntimeInstallError                     Node, claude-flow or Claude Code could not be installed
    │   ├── SandboxError                            the sandbox could not be started or broke
    │   ├── GatewayError                            the gateway could not be started
    │   └── OutOfSpace          (also OSError)      a disk is full
    ├── ApplyConflict                               the source changed while the agent worked      exit 1
    └── PatchTooLarge                               the changes do not fit into a patch           exit 1

`exit_code` is the one table from errors to exit statuses; verdicts have theirs in `result.py`.
"""

from __future__ import annotations

from typing import ClassVar


class ClaudeFlowDaggerError(Exception):
    """The root of the tree.

    Args:
        message: what is wrong, naming the thing.
        cure: what the reader can do about it; printed on a line of its own.
    """

    exit_code: ClassVar[int] = 1
    code: ClassVar[str] = "error"

    def __init__(self, message: str, *, cure: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.cure = cure

    def as_dict(self) -> dict[str, str | None]:
        """The error as JSON mode prints it: a stable `code`, the message and the cure."""
        return {"code": self.code, "message": self.message, "cure": self.cure}


class RefusedInput(ClaudeFlowDaggerError, ValueError):
    """The request is wrong. Nothing was started and nothing was changed."""

    exit_code = 2
    code = "refused_input"


class InvalidJob(RefusedInput):
    """A job that does not fit the schema; the message names the field, or the line and column."""

    code = "invalid_job"


class InvalidScript(RefusedInput):
    """A model script that cannot be read or does not fit its schema."""

    code = "invalid_script"


class InvalidSource(RefusedInput):
    """A workspace directory that is missing, unreadable or too large."""

    code = "invalid_source"


class UnknownCommand(RefusedInput):
    """A claude-flow command or subcommand that the pinned version does not have."""

    code = "unknown_command"


class UnknownPrice(RefusedInput):
    """A budget in USD was asked for on a model whose price is not known."""

    code = "unknown_price"


class MissingKey(RefusedInput):
    """The job needs a model and there is neither a key nor a script."""

    code = "missing_key"


class UnsafeRun(RefusedInput):
    """The isolation that the run needs cannot be had on this machine."""

    code = "unsafe_run"


class InfrastructureError(ClaudeFlowDaggerError, RuntimeError):
    """This machine could not do it; the same request may succeed later or elsewhere."""

    exit_code = 75
    code = "infrastructure_error"


class RuntimeInstallError(InfrastructureError):
    """Node, claude-flow or Claude Code could not be installed or failed its checksum."""

    code = "runtime_install_error"


class SandboxError(InfrastructureError):
    """The sandbox could not be started, or ended without a report."""

    code = "sandbox_error"


class GatewayError(InfrastructureError):
    """The gateway could not be started."""

    code = "gateway_error"


class OutOfSpace(InfrastructureError, OSError):
    """A disk is full; the message names the directory and what was being written."""

    code = "out_of_space"


class ApplyConflict(ClaudeFlowDaggerError):
    """`--apply` found the source changed since the run began; nothing was written."""

    code = "apply_conflict"


class PatchTooLarge(ClaudeFlowDaggerError):
    """The changes do not fit into a patch of the allowed size; the workspace itself is untouched."""

    code = "patch_too_large"
