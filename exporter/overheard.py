"""A client that hands on the bodies it reads. Answers to logins are not among them: the client reads none."""

from collections.abc import Callable
from typing import TypeVar

from yarl import URL

from exporter.asking import PolledAccount
from exporter.client import Client
from exporter.transport import Answer

T = TypeVar("T")
Heard = Callable[[str, bytes], None]
"""Takes the endpoint and the body of one answer, before anything is made of it."""


class OverheardClient(Client):
    """The same client, overheard."""

    def __init__(self, client: Client, base_url: URL, heard: Heard) -> None:
        super().__init__(client.transport, client.auth, base_url)
        self._heard = heard

    async def _parsed(self, endpoint: str, answer: Answer, parse: Callable[[bytes], T]) -> T:
        self._heard(endpoint, answer.body)
        return await super()._parsed(endpoint, answer, parse)


def overhear(account: PolledAccount, base_url: URL, heard: Heard) -> None:
    """Have `heard` told of every body that an account reads; one that is overheard already stays as it is.

    For an account that has read nothing yet: what its client has learned about paths is not taken over.
    """
    if not isinstance(account.client, OverheardClient):
        account.client = OverheardClient(account.client, base_url, heard)
