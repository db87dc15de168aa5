"""docker-compose.yml against the compose specification, .env.example, the settings and Airflow's own options.

The specification's JSON schema comes with the package check-jsonschema (as `vendor/compose-spec.json`).
"""

from __future__ import annotations

import copy
import importlib.util
import json
import os
import re
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema.protocols import Validator
from jsonschema.validators import validator_for

from ratchet.loop import load_loops
from ratchet.settings import VARIABLES
from ratchet.stages.accounts import ALL_ADMINS, PASSWORDS, USERS, accounts, parsed, unheard

ROOT = Path(__file__).resolve().parents[2]
AIRFLOW_SERVICES = {
    "airflow-init", "airflow-api-server", "airflow-scheduler", "airflow-dag-processor", "airflow-triggerer",
    "airflow-worker",
}  # fmt: skip
SERVICES = AIRFLOW_SERVICES | {"postgres", "redis", "mlflow", "feedback-api"}
SECRETS = {
    "POSTGRES_PASSWORD", "REDIS_PASSWORD", "AIRFLOW_FERNET_KEY", "AIRFLOW_API_SECRET_KEY",
    "AIRFLOW_JWT_SECRET", "RATCHET_FEEDBACK_KEY",
}  # fmt: skip
SILENT = {
    "DO_NOT_TRACK": "1",
    "SCARF_ANALYTICS": "false",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "GX_ANALYTICS_ENABLED": "false",
    "DBT_SEND_ANONYMOUS_USAGE_STATS": "false",
    "AIRFLOW__COSMOS__ENABLE_TELEMETRY": "False",
}
_INTERPOLATED = re.compile(r"(?<!\$)\$\{([A-Z][A-Z0-9_]*)(?:(:?[-?])([^}]*))?\}")


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    return yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def specification() -> Validator:
    """The compose specification's schema, from the installed package that carries it."""
    try:
        files = metadata.files("check-jsonschema") or []
    except metadata.PackageNotFoundError:
        if os.environ.get("RATCHET_REQUIRE_ENGINES") == "1":
            pytest.fail("check-jsonschema is not installed; it carries the compose specification's schema")
        pytest.skip("check-jsonschema is not installed: the compose specification's schema was not compared")
    found = [file for file in files if file.name == "compose-spec.json"]
    assert len(found) == 1, "check-jsonschema no longer carries compose-spec.json"
    schema = json.loads(Path(str(found[0].locate())).read_text(encoding="utf-8"))
    dialect = validator_for(schema)
    dialect.check_schema(schema)
    return dialect(schema)


def _environment_file() -> dict[str, str | None]:
    """Variables of .env.example; None for one that is only mentioned, commented out."""
    found: dict[str, str | None] = {}
    for line in (ROOT / ".env.example").read_text(encoding="utf-8").splitlines():
        match = re.match(r"^(# )?([A-Z][A-Z0-9_]+)=(.*)$", line)
        if match:
            found[match[2]] = None if match[1] else match[3]
    return found


def _interpolated() -> list[tuple[str, str, str]]:
    """(name, operator, rest) of each ${NAME...} in the file's lines that are not comments."""
    lines = (ROOT / "docker-compose.yml").read_text(encoding="utf-8").splitlines()
    text = "\n".join(line for line in lines if not line.lstrip().startswith("#"))
    return _INTERPOLATED.findall(text)


def test_the_file_keeps_the_compose_specification(compose, specification: Validator) -> None:
    errors = [
        f"{'/'.join(map(str, e.absolute_path))}: {e.message}" for e in specification.iter_errors(compose)
    ]
    assert errors == []
    assert len(compose["services"]) == len(SERVICES)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("services", "redis", "comand"), ["redis-server"]),
        (("services", "postgres", "healthcheck", "retries"), {"three": 3}),
        (("services", "mlflow", "depends_on", "postgres", "condition"), "service_awake"),
        (("volume",), {"state": None}),
    ],
)
def test_the_specification_refuses_a_planted_mistake(
    compose, specification: Validator, path: tuple[str, ...], value: object
) -> None:
    spoiled = copy.deepcopy(compose)
    node = spoiled
    for key in path[:-1]:
        node = node[key]
    node[path[-1]] = value
    assert list(specification.iter_errors(spoiled))


def test_every_part_of_airflow_runs_from_one_image_with_one_environment(compose) -> None:
    services = compose["services"]
    assert set(services) == SERVICES
    python = AIRFLOW_SERVICES | {"mlflow", "feedback-api"}
    assert len({services[name]["image"] for name in python}) == 1
    assert all(services[name]["build"] == {"context": "."} for name in python)
    first = services["airflow-init"]["environment"]
    assert first["AIRFLOW__CORE__EXECUTOR"] == "CeleryExecutor"
    for name in AIRFLOW_SERVICES:
        assert services[name]["environment"] == first
        assert "state:/opt/ratchet/var" in services[name]["volumes"]


def test_each_long_running_service_has_a_health_check_and_what_it_waits_for_exists(compose) -> None:
    services = compose["services"]
    waited = 0
    for name, service in services.items():
        assert name == "airflow-init" or "healthcheck" in service
        for other, rule in service.get("depends_on", {}).items():
            waited += 1
            if rule["condition"] == "service_healthy":
                assert "healthcheck" in services[other]
            else:
                assert (other, rule["condition"]) == ("airflow-init", "service_completed_successfully")
    assert waited >= len(AIRFLOW_SERVICES)


def test_volumes_and_configs_that_services_name_are_declared(compose) -> None:
    for service in compose["services"].values():
        assert {mount.split(":")[0] for mount in service.get("volumes", [])} <= set(compose["volumes"])
        assert {config["source"] for config in service.get("configs", [])} <= set(compose["configs"])


def test_pages_are_published_on_the_loopback_address_unless_told_otherwise(compose) -> None:
    published = [port for service in compose["services"].values() for port in service.get("ports", [])]
    assert len(published) == 3
    assert all(port.startswith("${BIND_ADDRESS:-127.0.0.1}:") for port in published)
    assert not any("ports" in compose["services"][name] for name in ("postgres", "redis"))


def test_variables_of_the_file_and_of_the_example_are_the_same_both_ways() -> None:
    used = {name for name, _, _ in _interpolated()}
    example = {name for name, value in _environment_file().items() if value is not None}
    assert used == example
    assert used >= SECRETS


def test_settings_and_the_example_name_the_same_variables_both_ways() -> None:
    mentioned = {name for name in _environment_file() if name.startswith("RATCHET_")}
    assert mentioned - {"RATCHET_IMAGE"} == set(VARIABLES)


def test_defaults_in_the_file_are_those_of_the_example() -> None:
    example = _environment_file()
    compared = 0
    for name, operator, rest in _interpolated():
        if name not in SECRETS:
            assert (operator, rest) == (":-", example[name]), name
            compared += 1
    assert compared >= 5


def test_secrets_have_no_default_and_are_empty_in_the_example() -> None:
    example = _environment_file()
    seen = set()
    for name, operator, _ in _interpolated():
        if name in SECRETS:
            assert operator == ":?", f"{name} must stop compose when it is empty"
            seen.add(name)
    assert seen == SECRETS
    assert all(example[name] == "" for name in SECRETS)


def test_no_dependency_reports_to_its_maker(compose) -> None:
    for name in AIRFLOW_SERVICES | {"mlflow"}:
        environment = compose["services"][name]["environment"]
        assert {key: environment.get(key) for key in SILENT} == SILENT, name
        assert environment["MLFLOW_ALLOW_PICKLE_DESERIALIZATION"] == "false"


def test_people_sign_in_by_name_and_the_loops_approvers_are_among_them(compose) -> None:
    loops = load_loops(ROOT / "loops")
    environment = compose["services"]["airflow-api-server"]["environment"]
    assert environment[ALL_ADMINS] == "False"
    assert environment[PASSWORDS].startswith("/opt/ratchet/var/"), "passwords belong on the state volume"
    users = parsed(_environment_file()["AIRFLOW_USERS"] or "")
    found = accounts(users, loops)
    assert unheard(users, loops) == []
    assert [one.role for one in found if not one.may_answer] == ["admin", "viewer"]
    assert {loop for one in found if one.may_answer for loop in one.answers} == set(loops)
    # What the compose file was before somebody could approve.
    assert unheard(parsed("admin:admin"), loops) == [("flights", "Dana Reyes")]
    command = compose["services"]["airflow-init"]["command"][-1]
    assert "ratchet users --make" in command
    assert "${AIRFLOW_USERS:-" in environment[USERS]


def test_the_key_of_peoples_ids_is_one_for_all_services_that_see_people(compose) -> None:
    given = {
        name: compose["services"][name]["environment"].get("RATCHET_PERSON_KEY")
        for name in AIRFLOW_SERVICES | {"feedback-api"}
    }
    assert set(given.values()) == {"${RATCHET_PERSON_KEY:-}"}, given


def _airflow_options() -> set[tuple[str, str]]:
    """(section, option) that Airflow and its Celery provider declare, read without importing them."""
    spec = importlib.util.find_spec("airflow")
    assert spec is not None
    assert spec.origin is not None
    home = Path(spec.origin).parent
    declared = yaml.safe_load((home / "config_templates" / "config.yml").read_text(encoding="utf-8"))
    path = home / "providers" / "celery" / "get_provider_info.py"
    provider = importlib.util.spec_from_file_location("celery_provider_info", path)
    assert provider is not None
    assert provider.loader is not None
    module = importlib.util.module_from_spec(provider)
    provider.loader.exec_module(module)
    declared |= module.get_provider_info()["config"]
    return {(name, option) for name, section in declared.items() for option in section["options"]}


def test_every_airflow_variable_is_an_option_that_airflow_has(compose) -> None:
    known = _airflow_options() | {("cosmos", "enable_telemetry")}
    assert len(known) > 200
    given = [
        tuple(key.removeprefix("AIRFLOW__").lower().split("__"))
        for key in compose["services"]["airflow-init"]["environment"]
        if key.startswith("AIRFLOW__")
    ]
    assert len(given) >= 15
    assert [option for option in given if option not in known] == []


def test_the_image_holds_every_folder_that_the_package_reads_and_no_state() -> None:
    dockerfile = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    copied = set(re.findall(r"^COPY (\S+) \1$", dockerfile, flags=re.MULTILINE))
    assert copied == {"plugins", "dags", "dbt", "expectations", "loops"}
    ignored = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    assert "*" in ignored
    assert {line[1:] for line in ignored if line.startswith("!")} == copied | {
        "requirements.lock", "pyproject.toml", "README.md",
    }  # fmt: skip
    assert re.search(r"^USER ratchet$", dockerfile, flags=re.MULTILINE)
    assert "--require-hashes" in dockerfile
