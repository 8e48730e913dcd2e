"""A party's side of solver `gram`: vertical linear regression from encrypted cross products.

With X_P an orthogonal basis of the standardised columns of party P (parties/linear/basis.py), y the label around its
mean in a unit near its deviation, n rows, and [[.]] encrypted under the coordinator's key, the solution of A w = b is
sought, A = X^T X / n + ridge and b = X^T y / n. The blocks of A within a party are known to it. For each pair of
parties, one, E, encrypts and the other, M, multiplies (fedbus/algorithms/linear/layout.py says which):

    1. E -> M              [[x]] of each row, all of E's columns in the slots of one plaintext, or of several
    2. M                   [[X_E^T X_M]] by multi-exponentiation
    3. M -> coordinator    the same, every slot masked
    4. coordinator -> M    the same, cut up: encrypted anew in packs of E's columns, and of M's
    5. M -> E              [[X_E^T X_M]] in packs of M's columns, unmasked, and a host's [[X^T y]]

Then rounds of conjugate gradients on A w = b, preconditioned by the diagonal 1 / (1 + ridge). v is the direction, r the
residual, z the preconditioned residual:

    6. party -> others     [[X_other^T X_own v_own]]
    7. party               adds up what it received and has it opened behind a uniform mask: q = A v, its own rows
    8. all -> coordinator  [[v q]], added up by the guest; the coordinator answers with the step, (r z) / (v q)
    9. all -> coordinator  [[r z]] after the step; it answers with the turn of the direction, the loss, and whether
                           to check

A check is a round in which the weights take the place of the direction: it gives r = b - A w anew, and the coordinator
says whether to go on from there. A round is on as many ciphertexts as there are packs of columns.

Then, where the coordinator cannot rule out that columns of different parties depend on each other, a probe: rounds as
above from a residual of secret random numbers, which leave the weights alone (coordinator/linear/probe.py). If some
do, or the bits fell short otherwise, the pass is done again with more, and rounds go on from the weights that there
are. At the end the error of the weights that are kept is measured on the rows (parties/linear/measure.py).

Sources: conjugate gradients, Hestenes, Stiefel, J. Res. NBS 49 (1952), section 3; residuals computed anew, van der
Vorst, Ye, SIAM J. Sci. Comput. 22 (2000). What each role learns: docs/explanation/gram.md.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from fedbus.algorithms.linear.spec import LinearJob
from fedbus.crypto.engine import Engine
from fedbus.session.session import Session
from parties.data.tables import Tables
from parties.linear.descent import PartyWork
from parties.policy import Policy
from parties.scores import error_metrics, regression_metrics
from parties.side import Result
from parties.vertical import align
from parties.vertical.passes import open_scores, send_scores
from parties.vertical.share import prepare


def host(session: Session[LinearJob], engine: Engine, tables: Tables, policy: Policy) -> Result:
    """Play a host's part; see the module. Raises DataError, ProtocolError, CryptoError, JobRefused, JobFailed."""
    job = prepare(session, engine, align.host, tables, policy)
    work = PartyWork(session, engine, job)
    share = work.train()
    weights = work.weights(share)
    work.measured(job.features @ weights)
    if job.test_features is not None:
        session.at(session.round + 1)
        send_scores(work.vectors, job.test_features @ weights, held_out=True)
    model = work.model(replace(share, weights=weights))
    return Result(model, work.figures(), job.missing)


def guest(session: Session[LinearJob], engine: Engine, tables: Tables, policy: Policy) -> Result:
    """Play the guest's part; see the module. Raises DataError, ProtocolError, CryptoError, JobRefused, JobFailed."""
    job = prepare(session, engine, align.guest, tables, policy)
    work = PartyWork(session, engine, job)
    share = work.train()
    weights, mean = work.weights(share), float(np.mean(job.label))
    loss = work.measured(job.features @ weights - (job.label - mean))
    figures = {**work.figures(), "train": error_metrics(job.label, 2 * loss)}
    told = None
    if job.test_features is not None:
        session.at(session.round + 1)
        # The mean is added here: scores around it take fewer bits.
        predicted = open_scores(work.vectors, job.test_features @ weights) + mean
        figures["test"], told = regression_metrics(job.test_label, predicted), job.predictions(predicted)
    weights[-1] += mean
    model = work.model(replace(share, weights=weights))
    return Result(model, figures, job.missing, told)
