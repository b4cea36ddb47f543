"""What tests do to a broker: let it stand still, end it, have it look at its clock more often."""

from pathlib import Path

import psutil
import pytest
from confluent_kafka import KafkaException, Producer
from confluent_kafka.admin import AdminClient, ConfigResource, NewTopic, ResourceType

from streamflow.sdk.errors import UsageError
from streamflow.testing.kafka_security import Listener
from streamflow.testing.kafka_server import KafkaServer
from streamflow.testing.kafka_settings import QUICK_TO_NOTICE


@pytest.mark.usefixtures("needs_kafka")
def test_a_broker_that_stands_still_goes_on_stops_and_comes_back(tmp_path: Path) -> None:
    settings = {**QUICK_TO_NOTICE, "transaction.max.timeout.ms": "5000"}
    with KafkaServer(tmp_path, settings=settings, listeners=[Listener(name="OTHER")], short_lived=True) as server:
        before = server.bootstrap, server.bootstrap_of("OTHER")
        admin = AdminClient({"bootstrap.servers": server.bootstrap})
        admin.create_topics([NewTopic("kept", 1, 1)])["kept"].result(timeout=30)

        server.pause()
        assert psutil.Process(server.pid).status() == psutil.STATUS_STOPPED
        server.resume()
        assert set(admin.list_topics(timeout=30).topics) == {"kept"}

        asked = ConfigResource(ResourceType.BROKER, "1")
        said = admin.describe_configs([asked])[asked].result(timeout=30)
        assert {name: said[name].value for name in settings} == settings
        with pytest.raises(KafkaException, match=r"transaction\.timeout\.ms"):
            Producer(
                {"bootstrap.servers": server.bootstrap, "transactional.id": "t", "transaction.timeout.ms": 5001}
            ).init_transactions(30)

        server.pause()
        server.stop()
        assert server.pid is None
        server.start()
        server.pause()
        server.kill()
        assert server.pid is None
        server.start()
        assert (server.bootstrap, server.bootstrap_of("OTHER")) == before
        assert "kept" in admin.list_topics(timeout=30).topics


def test_a_listener_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no listener 'TLS'"):
        KafkaServer(tmp_path).bootstrap_of("TLS")
