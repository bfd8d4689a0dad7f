"""A path to far-away addresses: `traceroute` finds a gateway, two routers, silence and the destination, not one hop.

Rules of the world's own packet filter, loaded with `nft` where the machine has it; without it, only this appearance is missing.
A packet that would expire on the way is sent to the forwarding path on purpose, where the kernel itself answers that it has;
for the second and third router that answer gets their address.
"""

from __future__ import annotations

import shutil
import subprocess
from ipaddress import IPv4Address, IPv4Network

from pyroute2 import IPRoute

MARK, TABLE = 0x77, 77
SILENT_HOPS = 5
HOPS = 3 + SILENT_HOPS
"""Routers between a host and every address outside its local network."""

RULES = """
table inet path {{
  chain before {{
    type filter hook prerouting priority mangle; policy accept;
    ip daddr {lan} accept
    fib daddr type != local accept
    ip ttl 1 meta mark set 0x77 accept
    ip ttl 2 ip ttl set 1 meta mark set 0x277 accept
    ip ttl 3 ip ttl set 1 meta mark set 0x377 accept
    ip ttl 4-{last} drop
  }}
  chain inside {{
    type filter hook input priority filter; policy accept;
    ip daddr != {lan} udp dport != {{ 53, 33434-33534 }} drop
  }}
  chain after {{
    type filter hook output priority mangle; policy accept;
    icmp type time-exceeded meta mark 0x277 ip saddr set {second}
    icmp type time-exceeded meta mark 0x377 ip saddr set {third}
  }}
}}
"""


def lay(ip: IPRoute, lan: IPv4Network, bridge: int, routers: tuple[IPv4Address, IPv4Address]) -> bool:
    """Make the path in the namespace that this thread is in; False where the machine cannot. Blocking.

    Args:
        routers: addresses that the second and third hop answer from.
    """
    if shutil.which("nft") is None:
        return False
    rules = RULES.format(lan=lan, last=HOPS, second=routers[0], third=routers[1])
    if subprocess.run(["nft", "-f", "-"], input=rules, text=True, capture_output=True, check=False).returncode != 0:
        return False
    ip.rule("add", fwmark=MARK, fwmask=0xFF, table=TABLE, priority=5)
    ip.rule("add", table=255, priority=10)
    ip.rule("delete", table=255, priority=0)
    ip.route("add", dst="0.0.0.0/0", gateway=str(lan[-2]), oif=bridge, table=TABLE)
    ip.route("add", type="throw", dst=str(lan), table=TABLE)
    return True
