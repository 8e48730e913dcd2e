"""A party's part of a job's algorithm, by the job."""

from __future__ import annotations

from fedbus.crypto.engine import Engine
from fedbus.jobs import LinearJob
from fedbus.session.session import Session
from fedbus.settings import PartySettings
from parties.data.tables import Tables
from parties.linear import gram, sgd
from parties.policy import Policy
from parties.vertical.share import Result

_SOLVERS = {"gram": gram, "sgd": sgd}


def carry_out(session: Session, engine: Engine, own: Tables, policy: Policy, settings: PartySettings) -> Result:
    """This party's part; raises what the algorithm's module says."""
    result: Result
    if isinstance(session.spec, LinearJob):
        solver = _SOLVERS[session.spec.params.solver]
        role = solver.guest if session.role == "guest" else solver.host
        result = role(session, engine, own, policy)
        return result
    # Only those who train networks wait for torch to be loaded.
    from parties.fedavg import member

    result = member.take_part(session, engine, own, policy, settings)
    return result
