"""Jobs out of YAML: what is taken, and how what is wrong is named."""

from __future__ import annotations

import contextlib
import itertools
import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from claude_flow_dagger.errors import InvalidJob, RefusedInput
from claude_flow_dagger.job import AgentJob, CommandJob, Direct, HiveMind, Topology
from claude_flow_dagger.jobfile import job_schema, merge, read_job_file, render_schema, result_schema, validate_job
from claude_flow_dagger.yamlfile import parse_document

ROOT = Path(__file__).parents[2]

# Each line holds ten of the line before: nine lines of it are a billion values.
BOMB = "".join(f"{b}: &{b} [{', '.join([f'*{a}'] * 10)}]\n" for a, b in itertools.pairwise("abcdefghi")).encode()


def job(text: str) -> AgentJob | CommandJob:
    document = parse_document(text, "job.yaml", InvalidJob)
    return validate_job(document.data, document)


def test_a_full_agent_job() -> None:
    found = job(
        """
        version: 1
        objective: Fix it
        strategy: {topology: mesh, agents: 5, roles: [coder, tester]}
        model: {name: claude-opus-5-5, effort: high}
        limits: {wall: 1h30m, memory: 2GiB, cpus: 1.5, pids: 100, turns: 9, requests: 50, tokens: 1000000, usd: 0.75}
        network: open
        expect: changes
        verify: npm test
        tools: {allow: [Read], deny: [Write]}
        env: {A: b}
        mounts: [/opt/tools]
        pins: {claude_flow: 2.7.47}
        """
    )
    assert isinstance(found, AgentJob)
    assert found.strategy == HiveMind(topology=Topology.MESH, agents=5, roles=("coder", "tester"))
    assert (found.limits.wall, found.limits.memory, found.limits.usd) == (5400, 2 * 1024**3, Decimal("0.75"))


def test_short_forms() -> None:
    found = job("{objective: x, strategy: direct, model: claude-haiku-5-5}")
    assert isinstance(found, AgentJob)
    assert (found.strategy, found.model.name) == (Direct(), "claude-haiku-5-5")


def test_a_command_job_reaches_nothing_by_default() -> None:
    found = job("{kind: command, argv: [memory, list]}")
    assert isinstance(found, CommandJob)
    assert found.network.value == "none"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("objective: x\nbudget: 3", "job.yaml:2:1: budget: unknown field `budget`"),
        ("objective: x\nlimits:\n  usd: -1", "job.yaml:3:3: limits.usd: should be greater than or equal to 0"),
        ("objective: x\nlimits:\n  usd: .nan", "limits.usd: "),
        ("objective: x\nlimits: {wall: soon}", "job.yaml:2:10: limits.wall: 'soon' is not a duration"),
        ("objective: x\nlimits: {wall: 0}", "limits.wall: should be greater than 0"),
        ("objective: x\nlimits: {memory: lots}", "limits.memory: 'lots' is not a size"),
        (
            "objective: x\nstrategy: {name: hive-mind, topology: ring}",
            "strategy.topology: should be 'hierarchical-mesh'",
        ),
        ("objective: x\nstrategy: {name: direct, agents: 3}", "strategy.agents: unknown field `agents`"),
        ("objective: x\nstrategy: anarchy", "strategy: "),
        ("objective: ''", "objective: "),
        ("objective: '  '", "objective: is blank"),
        ("objective: x\nnetwork: none", "network: an agent needs its model"),
        ("objective: x\nmounts: [etc]", "'etc' is not a plain absolute path"),
        ("objective: x\nmounts: [/a/../etc]", "is not a plain absolute path"),
        ("objective: x\nenv: {ANTHROPIC_API_KEY: k}", "ANTHROPIC_API_KEY is set by claude-flow-dagger itself"),
        ("objective: x\nenv: {'A B': k}", "env.A B"),
        ("objective: x\nmodel: {name: '--help'}", "model.name: "),
        ("objective: x\npins: {claude_flow: latest}", "pins.claude_flow: should be '3.43.0' or '2.7.47'"),
        ("objective: x\nversion: 2", "version: should be 1"),
        ("kind: command\nargv: []", "argv: "),
        ("kind: dance", "kind"),
        ("kind: command\nargv: [a]\nobjective: x", "objective: unknown field `objective`"),
    ],
)
def test_what_is_wrong_is_named_with_its_place(text: str, said: str) -> None:
    with pytest.raises(InvalidJob) as caught:
        job(text)
    assert said in caught.value.message


def test_several_mistakes_are_told_at_once() -> None:
    with pytest.raises(InvalidJob) as caught:
        job("objective: x\nbudget: 3\nlimits: {pids: 1}")
    assert len(caught.value.message.splitlines()) == 2


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        (b"objective: [x\nb: c", "job.yaml:2:2: not valid YAML"),
        (b"objective: \xff", "is not UTF-8 at byte 11"),
        (b"- a", "a job is a mapping"),
        (b"", "a job is a mapping"),
        (b"a: &a [*a]", "job.yaml:1:4: not valid YAML: an alias that contains itself"),
        (b"? [b]\n: 1", "job.yaml"),
        (b"objective: x\nobjective: y", "job.yaml:2:1: not valid YAML: the key 'objective' is there twice"),
        (b"[" * 100_000, "job.yaml:1:101: not valid YAML: nested over 100 deep"),
        (b"a: &a [x, x, x, x, x, x, x, x, x, x]\n" + BOMB, "over 1000000 values, aliases counted"),
    ],
)
def test_files_that_cannot_be_read(tmp_path: Path, raw: bytes, said: str) -> None:
    file = tmp_path / "job.yaml"
    file.write_bytes(raw)
    with pytest.raises(InvalidJob) as caught:
        read_job_file(file)
    assert said in caught.value.message


def test_a_missing_file_and_a_directory(tmp_path: Path) -> None:
    with pytest.raises(InvalidJob, match="no such file"):
        read_job_file(tmp_path / "none.yaml")
    with pytest.raises(InvalidJob, match="cannot be read"):
        read_job_file(tmp_path)


def test_layers_merge_and_a_renamed_strategy_replaces() -> None:
    merged = merge({"limits": {"usd": 1, "pids": 50}, "strategy": {"agents": 3}}, {"limits": {"usd": 2}})
    assert merged == {"limits": {"usd": 2, "pids": 50}, "strategy": {"agents": 3}}
    assert merge(merged, {"strategy": {"name": "direct"}})["strategy"] == {"name": "direct"}
    assert merge(merged, {"strategy": {"name": "hive-mind"}})["strategy"] == {"agents": 3, "name": "hive-mind"}


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
    max_leaves=8,
)
fields = st.sampled_from([*AgentJob.model_fields, *CommandJob.model_fields, "x"])


@given(st.dictionaries(fields, json_values, max_size=5))
def test_no_input_raises_anything_but_a_refusal(data: dict[str, Any]) -> None:
    with contextlib.suppress(RefusedInput):
        assert validate_job(data)


def test_the_published_schema_is_current_and_takes_what_we_take() -> None:
    schema = job_schema()
    assert (ROOT / "schemas" / "job.schema.json").read_text() == render_schema(schema)
    validator = jsonschema.Draft202012Validator(schema)
    validator.check_schema(schema)
    assert validator.is_valid(
        {"kind": "agent", "objective": "x", "limits": {"wall": "30m", "memory": "2GiB", "usd": 1}}
    )
    assert validator.is_valid({"objective": "x", "strategy": "direct", "model": "claude-haiku-5-5"})
    assert validator.is_valid({"objective": "x", "strategy": {"agents": 3}})
    assert validator.is_valid({"kind": "command", "argv": ["memory", "list"]})
    assert not validator.is_valid({"kind": "agent", "objective": "x", "budget": 1})


def test_the_published_schema_of_results_is_current() -> None:
    schema = result_schema()
    assert (ROOT / "schemas" / "result.schema.json").read_text() == render_schema(schema)
    jsonschema.Draft202012Validator.check_schema(schema)


def test_a_job_survives_its_own_json() -> None:
    found = job("{objective: x, limits: {usd: 0.1, wall: 90}}")
    assert validate_job(json.loads(found.model_dump_json())) == found
