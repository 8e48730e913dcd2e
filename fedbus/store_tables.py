"""The tables of a store, and statements of every message, made once: making one takes longer than running it."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.dialects import sqlite
from sqlalchemy.dialects.sqlite import insert

tables = sa.MetaData()
jobs = sa.Table(
    "jobs",
    tables,
    sa.Column("job", sa.Text, primary_key=True),
    sa.Column("spec", sa.LargeBinary, nullable=False),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("reason", sa.Text, nullable=False, default=""),
    sa.Column("report", sa.LargeBinary),
    sa.Column("secret", sa.LargeBinary, nullable=False),
    sa.Column("owner", sa.Text, nullable=False),
    sa.Column("created_at", sa.Float, nullable=False),
    sa.Column("updated_at", sa.Float, nullable=False),
)


history = sa.Table(
    "history",
    tables,
    sa.Column("number", sa.Integer, primary_key=True),
    sa.Column("job", sa.Text, nullable=False, index=True),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("at", sa.Float, nullable=False),
)


def _messages(name: str, peer: str) -> sa.Table:
    return sa.Table(
        name,
        tables,
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("job", sa.Text, nullable=False),
        sa.Column(peer, sa.Text, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("round", sa.Integer, nullable=False),
        sa.Column("batch", sa.Integer, nullable=False),
        sa.Column("chunk", sa.Integer, nullable=False),
        sa.Column("body", sa.LargeBinary, nullable=False),
        sa.Index(f"{name}_by_round", "job", "round"),
    )


inbox = _messages("inbox", "sender")
outbox = _messages("outbox", "recipient")
checkpoints = sa.Table(
    "checkpoints",
    tables,
    sa.Column("job", sa.Text, primary_key=True),
    sa.Column("round", sa.Integer, nullable=False),
    sa.Column("state", sa.LargeBinary, nullable=False),
)
arrays = sa.Table(
    "arrays",
    tables,
    sa.Column("job", sa.Text, primary_key=True),
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("chunk", sa.Integer, primary_key=True),
    sa.Column("data", sa.LargeBinary, nullable=False),
)
models = sa.Table(
    "models",
    tables,
    sa.Column("job", sa.Text, primary_key=True),
    sa.Column("share", sa.LargeBinary, nullable=False),
    sa.Column("created_at", sa.Float, nullable=False),
)

trim_outbox = outbox.delete().where(
    outbox.c.job == sa.bindparam("of_job"),
    outbox.c.recipient == sa.bindparam("of_recipient"),
    outbox.c.round <= sa.bindparam("until"),
)
drop_inbox = inbox.delete().where(inbox.c.job == sa.bindparam("of_job"), inbox.c.round <= sa.bindparam("until"))


def _text(statement: sa.Insert | sa.Delete) -> str:
    return str(statement.compile(dialect=sqlite.dialect(paramstyle="qmark")))


# What every message and every round needs, as text with values in the order of the columns: to run it through
# SQLAlchemy takes as long again as SQLite itself.
RECEIVE = _text(insert(inbox).on_conflict_do_nothing())
POST = _text(insert(outbox).on_conflict_do_nothing())
CHECKPOINT = _text(insert(checkpoints).prefix_with("OR REPLACE"))
DROP_BLOB = _text(
    arrays.delete().where(arrays.c.job == sa.bindparam("of_job"), arrays.c.name == sa.bindparam("of_name"))
)
BLOB = _text(insert(arrays))
