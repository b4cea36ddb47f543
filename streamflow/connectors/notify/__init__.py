"""Notifications: messages to people by the services that Apprise knows."""
