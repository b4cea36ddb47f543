"""docker-compose.yml without a container engine: the compose specification's schema, and what a schema cannot say."""

import json
import re
from importlib.resources import files
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from ruamel.yaml import YAML

ROOT = Path(__file__).parents[2]
CONDITIONS = {"service_started", "service_healthy", "service_completed_successfully"}


def read_yaml(path: str) -> Any:
    return YAML(typ="safe").load((ROOT / path).read_text())


def interpolated(text: str) -> str:
    """`${NAME:-default}` as compose fills it in when NAME is not set."""
    return re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", text)


@pytest.fixture(scope="module")
def compose() -> Any:
    return read_yaml("docker-compose.yml")


@pytest.fixture(scope="module")
def specification() -> Any:
    """The compose specification's own JSON Schema, as check-jsonschema ships it."""
    vendored = files("check_jsonschema") / "builtin_schemas" / "vendor" / "compose-spec.json"
    return json.loads(vendored.read_text())


def test_it_fits_the_specification(compose: Any, specification: Any) -> None:
    validator = jsonschema.validators.validator_for(specification)(specification)
    assert [f"{'/'.join(map(str, e.path))}: {e.message}" for e in validator.iter_errors(compose)] == []


@pytest.mark.parametrize(
    ("service", "field", "wrong"),
    [("kafka", "healthcheck", {"test": 5}), ("worker", "depends_on", {"kafka": {}}), ("kafka", "imagee", "x"),
     ("worker", "volumes", [{"source": "a"}])],
)  # fmt: skip
def test_the_specification_is_one_that_refuses(
    compose: Any, specification: Any, service: str, field: str, wrong: Any
) -> None:
    broken = json.loads(json.dumps(compose))
    broken["services"][service][field] = wrong
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validators.validator_for(specification)(specification).validate(broken)


def test_services_are_waited_for_and_say_when_they_are_healthy(compose: Any) -> None:
    services = compose["services"]
    assert {"kafka", "schema-registry", "worker", "prometheus"} <= set(services)
    for name, service in services.items():
        for needed, how in service.get("depends_on", {}).items():
            assert how["condition"] in CONDITIONS, name
            if how["condition"] == "service_healthy":
                assert "test" in services[needed]["healthcheck"], f"{name} waits for {needed} for ever"


def test_images_are_pinned_and_ports_stay_on_this_machine(compose: Any) -> None:
    published = []
    for name, service in compose["services"].items():
        if "image" in service:
            tag = service["image"].rpartition(":")[2]
            assert re.match(r"v?\d+\.\d+\.\d+$", tag), f"{name}: {service['image']}"
        else:
            assert (ROOT / service["build"] / "Dockerfile").is_file()
        for port in service.get("ports", []):
            assert port.startswith("127.0.0.1:"), f"{name}: {port} would be open to the network"
            published.append(port.split(":")[1])
    assert len(published) == len(set(published))


def test_volumes_exist(compose: Any) -> None:
    for name, service in compose["services"].items():
        for volume in service.get("volumes", []):
            source = interpolated(volume).split(":")[0]
            if source.startswith("."):
                assert (ROOT / source).exists(), f"{name}: {source} is not in the repository"
            else:
                assert source in compose["volumes"], f"{name}: volume {source} is not declared"


def test_the_worker_finds_its_workflow_and_its_broker(compose: Any) -> None:
    services, worker = compose["services"], compose["services"]["worker"]
    source, target, _ = interpolated(worker["volumes"][0]).split(":")
    command, document, *options = worker["command"]
    assert command == "worker"
    assert (ROOT / source / Path(document).relative_to(target)).is_file()
    broker = options[options.index("--log") + 1].removeprefix("kafka://")
    assert f"INTERNAL://{broker}" in services["kafka"]["environment"]["KAFKA_ADVERTISED_LISTENERS"].split(",")


def test_the_worker_runs_where_it_can_write(compose: Any) -> None:
    """It keeps registered schemas in its folder, and Faust wants one too; the workflow's own is mounted read-only."""
    worker = compose["services"]["worker"]
    mounts = [interpolated(volume).split(":") for volume in worker["volumes"]]
    writable = [target for _, target, *options in mounts if "ro" not in options]
    assert worker["working_dir"] in writable
    made = [line for line in (ROOT / "Dockerfile").read_text().splitlines() if "--create-home streamflow" in line]
    assert made, "a volume over a folder that the image does not have would belong to root"


def test_host_clients_are_told_the_published_port(compose: Any) -> None:
    kafka = compose["services"]["kafka"]
    listeners = dict(at.split("://") for at in kafka["environment"]["KAFKA_LISTENERS"].split(","))
    told = dict(at.split("://") for at in kafka["environment"]["KAFKA_ADVERTISED_LISTENERS"].split(","))
    _, outside, inside = kafka["ports"][0].split(":")
    assert (listeners["HOST"], told["HOST"]) == (f":{inside}", f"localhost:{outside}")
    protocols = dict(one.split(":") for one in kafka["environment"]["KAFKA_LISTENER_SECURITY_PROTOCOL_MAP"].split(","))
    assert set(protocols) == set(listeners)


def test_prometheus_scrapes_services_that_exist(compose: Any) -> None:
    (job,) = read_yaml("deploy/prometheus.yml")["scrape_configs"]
    (targets,) = job["dns_sd_configs"]
    assert set(targets["names"]) <= set(compose["services"])


def test_the_image_runs_as_nobody_special_and_gets_what_it_copies() -> None:
    lines = (ROOT / "Dockerfile").read_text().splitlines()
    users = [line.split()[1] for line in lines if line.startswith("USER ")]
    assert users == ["streamflow"]
    assert 'ENTRYPOINT ["streamflow"]' in lines
    sent = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    assert {"pyproject.toml", "README.md", "LICENSE", "streamflow"} <= sent  # what a wheel is built from
    for name in sent:
        assert (ROOT / name).exists()
