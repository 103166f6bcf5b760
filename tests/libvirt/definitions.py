"""Interfaces as libvirt's XML describes them."""

from __future__ import annotations


def ethernet(name: str) -> str:
    return f"""<interface type='ethernet' name='{name}'><start mode='onboot'/><protocol family='ipv4'>
        <ip address='192.0.2.7' prefix='24'/></protocol></interface>"""


BRIDGE = """<interface type='bridge' name='br7'><start mode='onboot'/><protocol family='ipv4'>
    <dhcp/></protocol><bridge stp='off'><interface type='ethernet' name='eth3'/></bridge></interface>"""

BOND = """<interface type='bond' name='bond7'><start mode='onboot'/><protocol family='ipv4'>
    <ip address='192.0.2.9' prefix='24'/></protocol><bond mode='active-backup'>
    <miimon freq='100' carrier='netif'/><interface type='ethernet' name='eth4'/>
    <interface type='ethernet' name='eth5'/></bond></interface>"""
