"""A slow network on one machine: network namespaces joined by a switch with a given rate and delay. Linux, as root.

    python benchmarks/network.py --workers 4 --mbit 1000 --ms 1     until Ctrl-C or the end of its input

A worker's namespace is `hora-PID-RANK`, its address 10.86.0.(1 + RANK) on eth0. The switch is this process: it reads
frames from TAP devices and hands each on when a link of that rate and delay would have. It needs no traffic shaping of
the kernel, and its time is the machine's: on few cores it takes some from the workers.

Only this process makes and removes things. It goes when its input ends, so that nothing is left behind when the
benchmark is killed.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import os
import select
import signal
import struct
import subprocess
import sys
import time
from collections import deque
from collections.abc import Iterator, Sequence

# From linux/if_tun.h.
TUNSETIFF, TUNSETOFFLOAD = 0x400454CA, 0x400454D0
IFF_TAP, IFF_NO_PI, IFF_VNET_HDR = 0x0002, 0x1000, 0x4000
TUN_F_CSUM, TUN_F_TSO4 = 0x01, 0x02
# Frames come with this header, and up to 64 KB long, as the sender's card would have cut them.
VNET_HEADER_BYTES = 10
LONGEST_FRAME = VNET_HEADER_BYTES + 65536 + 64
# What a packet of 1500 bytes costs on the wire beyond them: preamble, Ethernet header, checksum, gap.
PACKET_BYTES, PACKET_OVERHEAD = 1500, 38
QUEUE_SECONDS = 0.02


class Switch:
    """Hands frames on between ports, each of which is a link with a rate and a delay in both directions."""

    def __init__(self, ports: Sequence[int], mbit: float, ms: float) -> None:
        self.ports = ports
        self.bytes_per_second = mbit * 125_000
        self.delay = ms / 1000
        self.up_free = [0.0] * len(ports)
        self.down_free = [0.0] * len(ports)
        self.queues: list[deque[tuple[float, bytes]]] = [deque() for _ in ports]
        self.dropped = 0

    def serve(self, until: int) -> None:
        """Switch until there is something to read from `until`."""
        port_of = {port: number for number, port in enumerate(self.ports)}
        while True:
            due = min((queue[0][0] for queue in self.queues if queue), default=None)
            wait = None if due is None else max(0.0, due - time.monotonic())
            ready, _, _ = select.select([*self.ports, until], [], [], wait)
            for source in ready:
                if source == until:
                    return
                self.receive(port_of[source])
            self.deliver()

    def receive(self, source: int) -> None:
        """Take in the frames of a port, and note when each is due where it goes."""
        for _ in range(16):
            try:
                frame = os.read(self.ports[source], LONGEST_FRAME)
            except BlockingIOError:
                return
            # The last byte of an address is its port; the rest (multicast) is nobody's.
            target = frame[VNET_HEADER_BYTES + 5] if frame[VNET_HEADER_BYTES] == 2 else len(self.ports)
            if target >= len(self.ports):
                continue
            length = len(frame) - VNET_HEADER_BYTES
            seconds = (length + (1 + length // PACKET_BYTES) * PACKET_OVERHEAD) / self.bytes_per_second
            now = time.monotonic()
            sent = max(now, self.up_free[source]) + seconds
            due = max(sent + self.delay, self.down_free[target] + seconds)
            if due - now > self.delay + QUEUE_SECONDS:
                self.dropped += 1
                continue
            self.up_free[source], self.down_free[target] = sent, due
            self.queues[target].append((due, frame))

    def deliver(self) -> None:
        """Hand on the frames that are due."""
        now = time.monotonic()
        for port, queue in zip(self.ports, self.queues, strict=True):
            while queue and queue[0][0] <= now:
                with contextlib.suppress(BlockingIOError):
                    os.write(port, queue[0][1])
                queue.popleft()


def ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True)


def open_tap(name: str) -> int:
    """Make a TAP device, which is gone when it is closed."""
    tap = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    fcntl.ioctl(tap, TUNSETIFF, struct.pack("16sH22x", name.encode(), IFF_TAP | IFF_NO_PI | IFF_VNET_HDR))
    fcntl.ioctl(tap, TUNSETOFFLOAD, TUN_F_CSUM | TUN_F_TSO4)
    return tap


def connect(rank: int, size: int, made: list[str]) -> int:
    """Make the namespace of a worker with its device; return the switch's end of it."""
    space, device = f"hora-{os.getpid()}-{rank}", f"hora{os.getpid()}.{rank}"
    tap = open_tap(device)
    made.append(space)
    ip("netns", "add", space)
    ip("link", "set", device, "address", f"02:00:00:00:00:{rank:02x}", "netns", space, "name", "eth0")
    ip("-n", space, "address", "add", f"{address(rank)}/24", "dev", "eth0")
    ip("-n", space, "link", "set", "lo", "up")
    ip("-n", space, "link", "set", "eth0", "up")
    for other in range(size):
        if other != rank:
            ip("-n", space, "neigh", "add", address(other), "lladdr", f"02:00:00:00:00:{other:02x}", "dev", "eth0")
    return tap


def address(rank: int) -> str:
    """The address of a worker."""
    return f"10.86.0.{rank + 1}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--mbit", type=float, default=1000.0, help="rate of each worker's link, each way")
    parser.add_argument("--ms", type=float, default=1.0, help="delay from one worker to another")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    made: list[str] = []
    try:
        switch = Switch(
            [connect(rank, options.workers, made) for rank in range(options.workers)], options.mbit, options.ms
        )
        # The frames of busy workers must not wait for the workers.
        os.nice(-10)
        print(*made, flush=True)
        switch.serve(until=sys.stdin.fileno())
        if switch.dropped:
            print(f"the switch dropped {switch.dropped} frames", file=sys.stderr)
    except KeyboardInterrupt:
        pass
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        for space in made:
            # It is not there if it was interrupted while it was made.
            with contextlib.suppress(subprocess.CalledProcessError):
                ip("netns", "delete", space)


@contextlib.contextmanager
def slow_network(workers: int, mbit: float, ms: float) -> Iterator[list[str]]:
    """Run a switch in a process of its own; give the names of the workers' namespaces."""
    command = [sys.executable, __file__, f"--workers={workers}", f"--mbit={mbit}", f"--ms={ms}"]
    # In a session of its own, Ctrl-C does not end it before the workers.
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        spaces = process.stdout.readline().split()
        if len(spaces) != workers:
            raise SystemExit("no network namespaces: they need Linux, root, iproute2 and /dev/net/tun")
        yield spaces
    finally:
        process.stdin.close()
        process.wait()


if __name__ == "__main__":
    main()
