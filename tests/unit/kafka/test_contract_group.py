"""The contract with aiokafka's group coordinator and with Faust's consumer: what we lean on there is as it was."""

from __future__ import annotations

import inspect

from aiokafka import AIOKafkaConsumer
from aiokafka.client import AIOKafkaClient
from aiokafka.consumer.group_coordinator import BaseCoordinator, CoordinatorGroupRebalance, GroupCoordinator
from aiokafka.consumer.subscription_state import SubscriptionState
from aiokafka.coordinator.protocol import ConsumerProtocolMemberAssignment, ConsumerProtocolMemberMetadata
from faust.transport.drivers import aiokafka as driver


def test_the_coordinator_takes_what_we_give() -> None:
    parameters = inspect.signature(GroupCoordinator.__init__).parameters
    ours = {"client", "subscription", "group_id", "enable_auto_commit", "assignors", "session_timeout_ms",
            "heartbeat_interval_ms", "rebalance_timeout_ms"}  # fmt: skip
    assert ours <= set(parameters)
    for name in ("check_errors", "request_rejoin", "close"):
        assert callable(getattr(GroupCoordinator, name))
    assert "self.generation = " in inspect.getsource(GroupCoordinator.__init__)
    assert inspect.iscoroutinefunction(AIOKafkaClient._maybe_wait_metadata)


def test_only_the_subscriptions_idle_time_would_make_it_leave() -> None:
    """Nothing is fetched through a membership: its subscription says that it is never idle."""
    assert isinstance(SubscriptionState.fetcher_idle_time, property)
    for method in (GroupCoordinator._heartbeat_routine, GroupCoordinator.ensure_active_group):
        assert "self._subscription.fetcher_idle_time" in inspect.getsource(method)
    assert list(inspect.signature(SubscriptionState.subscribe).parameters) == ["self", "topics", "listener"]
    assert list(inspect.signature(SubscriptionState.register_fetch_waiters).parameters) == ["self", "waiters"]


def test_a_revoke_is_awaited_before_the_group_is_joined_again() -> None:
    joining = inspect.getsource(GroupCoordinator.ensure_active_group)
    assert joining.index("await self._on_join_prepare(") < joining.index("await self._do_rejoin_group(")
    preparing = inspect.getsource(GroupCoordinator._on_join_prepare)
    assert "await res" in preparing[preparing.index("on_partitions_revoked") :]


def test_the_assignor_is_asked_as_we_answer() -> None:
    assert "assignor.assign(self._cluster, member_metadata)" in inspect.getsource(GroupCoordinator._perform_assignment)
    assert "assignor.metadata(topics)" in inspect.getsource(CoordinatorGroupRebalance.perform_group_join)
    assert ConsumerProtocolMemberMetadata.SCHEMA.names == ("version", "subscription", "user_data")
    assert ConsumerProtocolMemberAssignment.SCHEMA.names == ("version", "assignment", "user_data")
    assert "partitions_for_topic" in inspect.getsource(BaseCoordinator._get_metadata_snapshot)


def test_fausts_consumer_can_be_told_to_read_committed_records() -> None:
    assert list(inspect.signature(driver.AIOKafkaConsumerThread._create_worker_consumer).parameters) == [
        "self",
        "transport",
    ]
    assert list(inspect.signature(driver.Consumer._new_consumer_thread).parameters) == ["self"]
    assert "isolation_level=self._isolation_level" in inspect.getsource(AIOKafkaConsumer.start)
