"""The tables of a store and its statements are made once, because to make one takes longer than to run it.

Each record ends with the digest of `checks.py`. Statements are text with values in the order of the columns:
SQLAlchemy converts what is read by the column's type, which a damaged record need not have.
"""

from __future__ import annotations

import functools
import sqlite3
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import sqlite
from sqlalchemy.dialects.sqlite import insert
from sqlalchemy.schema import CreateIndex, CreateTable

from fedbus.job import JobState
from fedbus.store.checks import sealed

# In the header of the file, where SQLite has room for them: which program's it is, and of which version.
APPLICATION_ID = 0x46454442
VERSION = 3

tables = sa.MetaData()


def _digest() -> sa.Column[bytes]:
    return sa.Column("digest", sa.LargeBinary, nullable=False)


jobs = sa.Table(
    "jobs",
    tables,
    sa.Column("job", sa.Text, primary_key=True),
    sa.Column("spec", sa.LargeBinary, nullable=False),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("report", sa.LargeBinary),
    sa.Column("secret", sa.LargeBinary, nullable=False),
    sa.Column("owner", sa.Text, nullable=False),
    sa.Column("created_at", sa.Float, nullable=False),
    sa.Column("updated_at", sa.Float, nullable=False),
    sa.Column("started_at", sa.Float),
    _digest(),
)


history = sa.Table(
    "history",
    tables,
    sa.Column("number", sa.Integer, primary_key=True),
    sa.Column("job", sa.Text, nullable=False, index=True),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("at", sa.Float, nullable=False),
    _digest(),
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
        _digest(),
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
    _digest(),
)
arrays = sa.Table(
    "arrays",
    tables,
    sa.Column("job", sa.Text, primary_key=True),
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("chunk", sa.Integer, primary_key=True),
    sa.Column("data", sa.LargeBinary, nullable=False),
    _digest(),
)
models = sa.Table(
    "models",
    tables,
    sa.Column("job", sa.Text, primary_key=True),
    sa.Column("share", sa.LargeBinary, nullable=False),
    sa.Column("created_at", sa.Float, nullable=False),
    _digest(),
)
# What others signed for a job: its submitter the job, each participant its public key.
proofs = sa.Table(
    "proofs",
    tables,
    sa.Column("job", sa.Text, primary_key=True),
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("proof", sa.LargeBinary, nullable=False),
    _digest(),
)
# One record: how many transactions there were, and whether a process works on the store or died over it.
progress = sa.Table(
    "progress",
    tables,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("entries", sa.Integer, nullable=False),
    sa.Column("open", sa.Integer, nullable=False),
    _digest(),
)


def _text(statement: Any) -> str:
    return str(statement.compile(dialect=sqlite.dialect(paramstyle="qmark")))


def _p(name: str) -> sa.BindParameter[Any]:
    return sa.bindparam(f"of_{name}")


def _replace(table: sa.Table) -> str:
    return _text(insert(table).prefix_with("OR REPLACE"))


def _chosen(table: sa.Table, *columns: str) -> sa.Select[Any]:
    return sa.select(table).where(*(table.c[name] == _p(name) for name in columns))


def _dropped(table: sa.Table, *columns: str) -> str:
    return _text(table.delete().where(*(table.c[name] == _p(name) for name in columns)))


ADD_JOB = _text(insert(jobs).on_conflict_do_nothing())
PUT_JOB = _replace(jobs)
JOB = _text(_chosen(jobs, "job"))
JOBS = _text(sa.select(jobs).order_by(jobs.c.created_at))
JOB_IDS = _text(sa.select(jobs.c.job))
_ENDED: list[sa.ColumnElement[str]] = [sa.literal_column(f"'{state}'") for state in JobState if state.final]
# Of everybody's jobs or one owner's, ended ones among them or not, before a time and job.
_newest = (
    sa.select(jobs)
    .where(sa.or_(_p("everybody"), jobs.c.owner == _p("owner")))
    .where(sa.or_(_p("ended"), jobs.c.state.not_in(_ENDED)))
    .where(
        sa.or_(
            jobs.c.created_at < _p("time"),
            sa.and_(jobs.c.created_at == _p("same_time"), jobs.c.job < _p("job")),
        )
    )
    .order_by(jobs.c.created_at.desc(), jobs.c.job.desc())
)
NEWEST = _text(_newest)
ADD_STATE = _text(insert(history).values(dict.fromkeys(("job", "state", "reason", "at", "digest"))))
HISTORY = _text(
    sa.select(*(column for column in history.c if column.name != "number"))
    .where(history.c.job == _p("job"))
    .order_by(history.c.number)
)
NOT_ENDED = _text(sa.select(jobs.c.job).where(jobs.c.state.not_in(_ENDED)).order_by(jobs.c.created_at))
STATES = _text(sa.select(jobs.c.state, sa.func.count()).group_by(jobs.c.state))
DROP_ALL_OF_JOB = tuple(_dropped(table, "job") for table in (inbox, outbox, checkpoints, arrays, proofs))

PUT_PROOF = _replace(proofs)
PROOFS = _text(_chosen(proofs, "job"))
RECEIVE = _text(insert(inbox).on_conflict_do_nothing())
POST = _text(insert(outbox).on_conflict_do_nothing())
RECEIVED = _text(_chosen(inbox, "id"))
POSTED = _text(_chosen(outbox, "id"))
INBOX = _text(_chosen(inbox, "job").where(inbox.c.round > _p("round")))
_order = (outbox.c.round, outbox.c.batch, outbox.c.chunk)
OUTBOX = _text(_chosen(outbox, "job").order_by(*_order))
OUTBOX_AT = _text(_chosen(outbox, "job", "recipient", "kind", "round", "batch").order_by(*_order))
SENT_AFTER = _text(_chosen(outbox, "job", "recipient").where(outbox.c.round > _p("round")).order_by(*_order))
DECIDED = _text(_chosen(outbox, "job", "kind", "round"))
LAST_POSTED = _text(sa.select(sa.func.max(outbox.c.round)).where(outbox.c.job == _p("job")))
TRIM_OUTBOX = _text(
    outbox.delete().where(
        outbox.c.job == _p("job"), outbox.c.recipient == _p("recipient"), outbox.c.round <= _p("until")
    )
)
DROP_INBOX = _text(inbox.delete().where(inbox.c.job == _p("job"), inbox.c.round <= _p("until")))

CHECKPOINT = _replace(checkpoints)
LAST_CHECKPOINT = _text(_chosen(checkpoints, "job"))
DROP_BLOB = _dropped(arrays, "job", "name")
ADD_BLOB = _text(insert(arrays))
BLOB = _text(_chosen(arrays, "job", "name").order_by(arrays.c.chunk))

PUT_MODEL = _replace(models)
MODEL = _text(_chosen(models, "job"))
MODEL_IDS = _text(sa.select(models.c.job).order_by(models.c.created_at))

PROGRESS = _text(sa.select(progress))
PUT_PROGRESS = _replace(progress)

SCHEMA = "SELECT name, sql FROM sqlite_schema WHERE sql IS NOT NULL ORDER BY name"


def progress_record(entries: int, *, is_open: bool) -> tuple[Any, ...]:
    """Make the one record that says how far the store has come."""
    return sealed(progress.name, (1, entries, int(is_open)))


def creation() -> list[str]:
    """Return the statements that make a store's tables."""
    made = []
    for table in tables.sorted_tables:
        made.append(_text(CreateTable(table)))
        made += [_text(CreateIndex(index)) for index in sorted(table.indexes, key=lambda index: str(index.name))]
    return made


@functools.cache
def schema() -> tuple[tuple[str, str], ...]:
    """Return the tables of a store as SQLite describes them."""
    connection = sqlite3.connect(":memory:")
    try:
        for statement in creation():
            connection.execute(statement)
        return tuple(connection.execute(SCHEMA).fetchall())
    finally:
        connection.close()
