"""The frames from the supervisor to the fork server, over a real pair of sockets."""

import asyncio
import os
import socket

from horsies.worker import ipc
from horsies.worker.fork_server import ForkServer
from horsies.worker.ipc import Frame, FrameReader, Kind
from horsies.worker.options import WorkerOptions
from horsies.worker.processes import ProcessManager
from tests.support.exchanges import worker_parts

MANY = 5_000


async def send_while_nobody_reads(ours: socket.socket, theirs: socket.socket) -> list[Frame]:
    processes = ProcessManager(ForkServer(os.getpid(), ours), "test", WorkerOptions())
    for pid in range(1, MANY):
        processes.send_to_fork_server(ipc.kill(pid))
    processes.send_to_fork_server(Frame(Kind.STACKS))
    loop, starting = asyncio.get_running_loop(), asyncio.ensure_future(processes.start())
    await asyncio.sleep(0)  # lets it start
    reader, received = FrameReader(), list[Frame]()
    while not received or received[-1].kind is not Kind.FORK:
        received += reader.feed(await loop.sock_recv(theirs, 1 << 16))
    await starting
    loop.remove_reader(ours)
    for child in processes:
        assert child.transport is not None
        child.transport.close()
    await asyncio.sleep(0)  # lets it close
    return received


def test_the_process_id_of_a_child_that_is_ready_is_known() -> None:
    """The fork server also reports it, on another socket and possibly later."""

    async def play() -> list[int | None]:
        async with worker_parts(children=2) as parts:
            return [child.pid for child in parts.processes]

    pids = asyncio.run(play())
    assert len(set(pids)) == 2
    assert None not in pids


def test_frames_for_a_full_socket_are_sent_later_and_in_order() -> None:
    ours, theirs = socket.socketpair()
    theirs.setblocking(False)
    with ours, theirs:
        received = asyncio.run(send_while_nobody_reads(ours, theirs))
    assert [ipc.unpack_kill(frame) for frame in received[:-1]] == list(range(1, MANY))


def test_frames_to_a_dead_fork_server_are_dropped() -> None:
    async def tell(ours: socket.socket) -> ProcessManager:
        processes = ProcessManager(ForkServer(os.getpid(), ours), "test", WorkerOptions())
        for _ in range(2):
            processes.send_to_fork_server(Frame(Kind.BYE))
        return processes

    ours, theirs = socket.socketpair()
    theirs.close()
    with ours:
        assert list(asyncio.run(tell(ours))) == []
