"""Everything around the command, in order.

Meet the other nodes, fetch the secrets, install what is lacking, wait for the inputs, agree on a checkpoint and bring
it here, wait for the others, run the command, upload what it saves meanwhile, take its results away.
"""

from __future__ import annotations

import hashlib
import os
import queue
import sys
import traceback
from collections.abc import Mapping

from smtrain.agent import commands, failure, folders, results, secret_values
from smtrain.agent.channel import Message
from smtrain.agent.ending import AgentCode, AgentError, Failure, Stopped, say
from smtrain.agent.install import install
from smtrain.agent.interruption import Interruption
from smtrain.agent.keeper import Keeper, Upkeep
from smtrain.agent.node import Node
from smtrain.agent.parallel import Begun
from smtrain.agent.peers import Alone, Peers
from smtrain.agent.plan import Json, Plan
from smtrain.agent.progress import ProgressUpload
from smtrain.agent.restore import restore
from smtrain.agent.saved import SavedCheckpoints
from smtrain.agent.store import Store
from smtrain.agent.stores import Stores
from smtrain.agent.uploader import FirstNode, Kept, OtherNode
from smtrain.agent.workload import Workload

_LAST_WORDS_S = 30.0
"""Beyond the grace: what nodes of a failed run wait for one another to store their last checkpoint."""


class Job:
    """One run on this node."""

    def __init__(
        self,
        node: Node,
        plan: Plan,
        command: tuple[str, ...],
        *,
        interruption: Interruption,
        stores: Stores,
        staged: Begun[dict[str, str]],
    ) -> None:
        """Does nothing yet.

        Args:
          node: this node.
          plan: what to do around the command.
          command: its words.
          interruption: which listens already.
          stores: of the inputs and of the output.
          staged: the variables of the inputs, which are being brought here.
        """
        self._node = node
        self._plan = plan
        self._command = command
        self._interruption = interruption
        self._announced: queue.SimpleQueue[Message] = queue.SimpleQueue()
        self._peers: Peers = Alone()
        self._stores = stores
        self._staged = staged
        self._secrets: Mapping[str, str] = {}

    def run(self) -> int:
        """Runs to the end; returns the exit code."""
        try:
            cause = self._attempt()
        except Exception as error:  # noqa: BLE001 - whatever breaks, the reason must be told
            cause = self._crash(error)
        finally:
            commands.kill_all()
            self._peers.close()
        if cause is None:
            return 0
        text = failure.text(cause, nodes=self._node.nodes)
        failure.write(self._node.failure_file, text)
        say(f"failed: {text.partition(chr(10))[0]}")
        return cause.code

    def _attempt(self) -> Failure | None:
        """Returns why it failed, None when it did not."""
        try:
            with self._interruption.interruptible():
                self._peers = self._meet()
                variables = self._prepare()
                keeper = self._keeper(self._resume())
                self._peers.exchange("ready", None, _agreed)
            cause = self._work(variables, keeper)
            if cause is not None:
                cause = self._peers.fail(cause)
            self._store_last(keeper, cause)
            if cause is None and self._node.rank == 0:
                results.keep(self._plan, self._node, self._store())
        except Stopped as stopped:
            return self._peers.fail(stopped.failure)
        except AgentError as error:
            return self._peers.fail(self._failure(error.code, error.reason, error.details))
        return cause

    def _meet(self) -> Peers:
        node, control = self._node, self._plan.control
        if node.nodes == 1:
            return Alone()
        token = hashlib.sha256(f"{node.output_uri}\n".encode() + self._plan.document).hexdigest()
        if node.rank == 0:
            from smtrain.agent.leader import Leader

            return Leader(
                nodes=node.nodes,
                host=node.host,
                port=node.control_port,
                token=token,
                control=control,
                on_failure=self._interruption.end,
            )
        from smtrain.agent.member import Member

        return Member(
            rank=node.rank,
            host=node.host,
            master=node.master,
            port=node.control_port,
            token=token,
            control=control,
            on_failure=self._interruption.end,
            on_message=self._announced.put,
        )

    def _prepare(self) -> dict[str, str]:
        """Returns the variables of the command."""
        node, plan = self._node, self._plan
        self._secrets = secret_values.fetch(plan.secrets, os.environ)
        install(plan.install, node.python, node.scratch)
        return {**self._staged.result(), **self._secrets}

    def _resume(self) -> list[Upkeep]:
        """Brings the checkpoint here; returns what to look after from now on."""
        store, plan, node = self._store(), self._plan, self._node
        if store is None:
            return []
        upkeep: list[Upkeep] = []
        kept = self._kept(store)
        resumed: dict[str, str] = {}
        if node.resume:
            resumed = restore(kept, self._peers, node.outputs)
        if node.rank:
            return [OtherNode(kept, rank=node.rank, nodes=node.nodes, announced=self._announced)]
        if kept:
            upkeep.append(self._first_node(kept))
        if plan.progress is not None:
            path, prefix = node.work / plan.progress.path, f"{node.output_uri}/"
            progress = ProgressUpload(path, step=plan.progress.step, store=store, prefix=prefix)
            if resumed:
                progress.go_on_from(max(map(folders.number, resumed.values())))
            upkeep.append(progress)
        return upkeep

    def _kept(self, store: Store) -> tuple[Kept, ...]:
        node = self._node
        return tuple(
            Kept(
                output=output,
                folder=node.outputs / output.name,
                saved=SavedCheckpoints(store, f"{node.output_uri}/checkpoints/{output.name}/"),
            )
            for output in self._plan.outputs
            if output.checkpoint_glob and self._plan.upload.checkpoints
        )

    def _first_node(self, kept: tuple[Kept, ...]) -> FirstNode:
        done: set[tuple[str, str]] = set()
        for one in kept:
            if self._node.resume:
                done |= {(one.output.name, saved.name) for saved in one.saved.all() if saved.whole}
            else:
                # Started afresh: a later try must not go on from what an earlier one saved.
                one.saved.invalidate()
        return FirstNode(kept, nodes=self._node.nodes, announce=self._peers.announce, done=done)

    def _keeper(self, upkeep: list[Upkeep]) -> Keeper:
        return Keeper(upkeep, self._plan.upload.interval_s)

    def _work(self, variables: dict[str, str], keeper: Keeper) -> Failure | None:
        """Runs the command; returns why it failed."""
        workload = Workload(self._command, variables, grace_s=self._node.grace_s)
        keeper.start()
        try:
            with self._interruption.passed_on(workload.terminate):
                code = workload.run()
        except OSError as error:
            raise AgentError(AgentCode.BAD_PLAN, f"{self._command[0]} does not start: {error.strerror}") from error
        finally:
            keeper.stop()
        ended = self._interruption.failure
        lines, step = workload.output.lines(), workload.output.step
        if ended is not None:
            own = ended.node == self._node.rank and ended.code != AgentCode.PEER_LOST
            reason = f"step {step} was {ended.reason}" if own and step else ended.reason
            return Failure(
                code=code if own and code else ended.code,
                reason=reason,
                node=ended.node,
                host=ended.host,
                details=ended.details,
            )
        return self._failure(code, failure.reason(code, step, lines), failure.last(lines)) if code else None

    def _store_last(self, keeper: Keeper, cause: Failure | None) -> None:
        """Stores the checkpoints that are whole; each node has a part, and the first one says of which."""
        timeout_s = None if cause is None else self._node.grace_s + _LAST_WORDS_S
        if self._node.rank == 0:
            keeper.last()
        self._peers.exchange("announced", None, _agreed, timeout_s=timeout_s)
        if self._node.rank:
            keeper.last()
        self._peers.exchange("stored", None, _agreed, timeout_s=timeout_s)
        if self._node.rank == 0 and self._node.nodes > 1:
            keeper.last()

    def _store(self) -> Store | None:
        return self._stores.of(self._node.output_uri) if self._node.output_uri else None

    def _failure(self, code: int, reason: str, details: tuple[str, ...] = ()) -> Failure:
        # Here, since what other nodes are told, they write down without knowing this one's secrets.
        values = self._secrets.values()
        return Failure(
            code=code,
            reason=failure.redacted(reason, values),
            node=self._node.rank,
            host=self._node.host,
            details=tuple(failure.redacted(line, values) for line in details),
        )

    def _crash(self, error: Exception) -> Failure:
        """Returns the failure of the agent itself, with its traceback in the log."""
        traceback.print_exc(file=sys.stderr)
        where = traceback.extract_tb(error.__traceback__)[-1]
        reason = f"the agent broke: {type(error).__name__}: {error} ({where.name}, line {where.lineno})"
        return self._peers.fail(self._failure(AgentCode.BUG, reason))


def _agreed(values: dict[int, Json]) -> Json:
    del values
    return True
