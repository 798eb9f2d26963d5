"""The spine's own tests with `--runner container`: the same commands, the same verdicts, and nothing that remains."""

from __future__ import annotations

import json
import subprocess

import pytest

from e2e.conftest import GREETER, Cli, Place, command, environment
from e2e.test_bad_input import test_a_workspace_of_every_kind
from e2e.test_exec import test_an_exit_status_that_lies, test_init_changes_a_copy
from e2e.test_exec import test_memory_outlives_the_process_that_stored_it as test_memory_outlives_its_container
from e2e.test_greeter import (
    test_a_denied_tool_is_not_a_success,
    test_a_model_that_refuses,
    test_a_proof_has_no_network_no_gateway_and_no_key,
    test_a_proof_that_fails,
    test_a_spent_budget,
    test_an_agent_that_never_reaches_its_model,
    test_changes_were_expected_from_a_model_that_only_talks,
    test_in_place_changes_the_source_and_leaves_no_state,
    test_ndjson_is_events_and_then_the_result,
    test_state_is_handed_out_and_taken_in_again,
    test_text_for_people_and_apply,
    test_the_first_command,
)
from e2e.test_sandbox import test_the_key_is_nowhere_and_nothing_but_the_gateway_answers

pytestmark = [pytest.mark.docker, pytest.mark.usefixtures("nothing_left")]

__all__ = [
    "test_a_denied_tool_is_not_a_success",
    "test_a_model_that_refuses",
    "test_a_proof_has_no_network_no_gateway_and_no_key",
    "test_a_proof_that_fails",
    "test_a_spent_budget",
    "test_a_workspace_of_every_kind",
    "test_an_agent_that_never_reaches_its_model",
    "test_an_exit_status_that_lies",
    "test_changes_were_expected_from_a_model_that_only_talks",
    "test_in_place_changes_the_source_and_leaves_no_state",
    "test_init_changes_a_copy",
    "test_memory_outlives_its_container",
    "test_ndjson_is_events_and_then_the_result",
    "test_state_is_handed_out_and_taken_in_again",
    "test_text_for_people_and_apply",
    "test_the_first_command",
    "test_the_key_is_nowhere_and_nothing_but_the_gateway_answers",
]


@pytest.mark.sandbox
@pytest.mark.parametrize("strategy", ["hive-mind", "direct"])
def test_the_same_job_in_both_places(place: Place, cli: Cli, strategy: str) -> None:
    """Equal but for what a place is: verdict, patch, memory, answer and what the model was asked."""
    options = ("--strategy", strategy, "--model-script", GREETER / "french.yaml", "--output", "json")
    words = ("run", "Greet in French too", "--source", GREETER, "--verify", "node --test", *options)
    here = subprocess.run(command(*words), env=environment({}), capture_output=True, text=True, timeout=240, check=True)
    local, container = json.loads(here.stdout), cli(*words).json
    assert (local["isolation"]["runner"], container["isolation"]["runner"]) == ("local", "container")
    for name in ("verdict", "exit_code", "reason", "message", "patch", "memory", "versions", "changes"):
        assert container[name] == local[name], name
    assert container["answer"]["text"] == local["answer"]["text"]
    assert container["proof"]["exit_code"] == local["proof"]["exit_code"] == 0
    assert container["ledger"]["requests"] == local["ledger"]["requests"]


def test_the_doctor_names_the_daemon(cli: Cli, place: Place) -> None:
    checks = {check["name"]: check for check in cli("doctor", "--output", "json").json["checks"]}
    assert checks["containers"]["message"].startswith("docker at unix://")
