"""A way is a channel with confirms, over which messages are published. All of it runs on the I/O thread."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pika import BasicProperties  # type: ignore[import-untyped]
from pika.exceptions import AMQPError, ChannelClosedByBroker  # type: ignore[import-untyped]
from pika.spec import Basic  # type: ignore[import-untyped]

from fedbus.broker.rabbitmq.intake import Pending
from fedbus.errors import AccessRefused, BrokerError, Nacked, Unroutable

_PERSISTENT = 2


@dataclass(frozen=True, slots=True)
class Answer:
    """The broker's answer for a message, or for all messages up to it.

    Attributes:
        tag: which `Way.publish` gave.
        multiple: all up to this one.
        error: Nacked where the broker does not take it, Unroutable where no queue does; None where it has it.
    """

    tag: int
    multiple: bool = False
    error: BrokerError | None = None


class Way:
    """A channel that is used for nothing but publishing.

    Args:
        user: whom messages are from.
        opened: called when messages can be published.
        answered: called with each answer.
        closed: called where the broker closes the channel; not where the connection is lost.
    """

    def __init__(
        self,
        connection: Any,
        user: str,
        *,
        opened: Callable[[Way], None],
        answered: Callable[[Way, Answer], None],
        closed: Callable[[Way, ChannelClosedByBroker], None],
    ) -> None:
        self.tag = 0
        self.answered = answered
        self.closed = closed
        self._opened = opened
        self._user = user
        self._selected = False
        self._left = False
        self._channel: Any = connection.channel(on_open_callback=self._on_open)
        self._channel.add_on_close_callback(self._on_closed)

    @property
    def is_open(self) -> bool:
        """Whether messages can be published."""
        return self._selected and bool(self._channel.is_open)

    def publish(self, pending: Pending) -> int:
        """Publish a message, and return its delivery tag.

        Raises:
            AccessRefused: it cannot be encoded.
        """
        message, tag = pending.message, self.tag + 1
        properties = BasicProperties(
            content_type="application/msgpack",
            delivery_mode=_PERSISTENT,
            message_id=message.message_id,
            user_id=self._user,
            # A returned message names no delivery tag, and a message sent again has the same id.
            correlation_id=str(tag),
            headers=dict(message.headers) or None,
        )
        try:
            self._channel.basic_publish(
                message.exchange, message.routing_key, message.body, properties, message.mandatory
            )
        except (AMQPError, ValueError) as error:
            raise AccessRefused(f"message {message.message_id} cannot be encoded: {error}") from error
        self.tag = tag
        return tag

    def leave(self) -> None:
        """Hear nothing of the channel any more, and close it.
        The broker may do that later, and what is on it may still arrive.
        """
        self._left = True
        if self._channel.is_open:
            self._channel.close()

    def _on_open(self, channel: Any) -> None:
        if self._left:
            channel.close()
            return
        channel.add_on_return_callback(self._on_return)
        channel.confirm_delivery(self._on_confirm, callback=self._on_selected)

    def _on_selected(self, _: Any) -> None:
        self._selected = True
        if not self._left:
            self._opened(self)

    def _on_confirm(self, frame: Any) -> None:
        method = frame.method
        if not self._left:
            error = None if isinstance(method, Basic.Ack) else Nacked("the broker does not take it")
            self.answered(self, Answer(method.delivery_tag, method.multiple, error))

    def _on_return(self, _: Any, method: Any, properties: Any, __: bytes) -> None:
        if not self._left:
            text = f"no queue takes {method.exchange} {method.routing_key}: {method.reply_text}"
            self.answered(self, Answer(int(properties.correlation_id), error=Unroutable(text)))

    def _on_closed(self, _: Any, reason: BaseException) -> None:
        if not self._left and isinstance(reason, ChannelClosedByBroker):
            self.closed(self, reason)
