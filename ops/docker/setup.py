"""Makes what a broker and its users need once: random passwords, the broker's definitions, a URL and an identity each.

    setup.py FOLDER NAME=ROLE…

Writes FOLDER/broker/definitions.json, which holds salted hashes only, and for each user FOLDER/NAME/amqp_url, its
private key FOLDER/NAME/identity.key, and the roster of all, FOLDER/NAME/roster.toml. A second run changes nothing: the
definitions, written last, say that passwords and URLs are there, the rosters that identities are.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

from fedbus.broker.node.accounts import amqp_url, new_password
from fedbus.broker.node.definitions import definitions
from fedbus.crypto import signing
from fedbus.identity import Identity, Role
from fedbus.members.keys import private_text

BROKER = "amqp://rabbitmq:5672"
READER = 10001  # the image's user


def main(folder: Path, users: dict[str, str]) -> None:
    """Write all files that are not there already."""
    introduce(folder, users)
    target = folder / "broker" / "definitions.json"
    if target.exists():
        print(f"setup: {target} is there; nothing to do")
        return
    passwords = {user: new_password() for user in users}
    for user, password in passwords.items():
        write(folder / user / "amqp_url", amqp_url(user, password, BROKER), 0o400, READER)
    write(target, json.dumps(definitions(users, passwords), indent=1), 0o444, os.geteuid())
    print(f"setup: made users {', '.join(users)}")


def introduce(folder: Path, users: dict[str, str]) -> None:
    """Give each user an identity and the roster of all, unless all have them.

    The rosters are written last. Keys that are there cannot be read again, as they are their readers' own by then.
    """
    rosters = [folder / user / "roster.toml" for user in users]
    if all(roster.exists() for roster in rosters):
        return
    lines = ["[members]"]
    for user, role in users.items():
        private = signing.generate()
        write(folder / user / "identity.key", private_text(private) + "\n", 0o400, READER)
        lines.append(Identity(private).introduction(user, Role(role)).line())
    for roster in rosters:
        write(roster, "\n".join(lines) + "\n", 0o444, READER)


def write(path: Path, text: str, mode: int, owner: int) -> None:
    """Write a file that appears whole, with its mode and owner (where this process may give it away)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_suffix(".new")
    new.unlink(missing_ok=True)
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
        os.fchmod(descriptor, mode)  # whatever the umask left of it
        if os.geteuid() == 0:
            os.fchown(descriptor, owner, owner)
    new.rename(path)


if __name__ == "__main__":
    main(Path(sys.argv[1]), dict(word.split("=") for word in sys.argv[2:]))
