"""A switch with a trunk: `switch.py TRUNK INTERFACE=VLAN[,VLAN] ...`.

What comes in by INTERFACE leaves by TRUNK with these VLANs' tags, the outer first (802.1ad outside 802.1Q where there are
two); what comes in by TRUNK with them leaves by INTERFACE without. All else is dropped. Written for kernels without VLANs.
"""

import select
import socket
import struct
import sys

ETH_P_ALL = 3
SOL_PACKET, PACKET_AUXDATA = 263, 8
# struct tpacket_auxdata: the kernel takes the outer tag off and says so beside the frame.
AUXDATA = struct.Struct("IIIHHHH")
TP_STATUS_VLAN_VALID, TP_STATUS_VLAN_TPID_VALID = 1 << 4, 1 << 6
TPIDS = (0x8100, 0x88A8)


def opened(interface):
    raw = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
    raw.setsockopt(SOL_PACKET, PACKET_AUXDATA, 1)
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
    raw.bind((interface, ETH_P_ALL))
    return raw


def received(raw):
    """A frame as it was on the wire; None for what we have sent ourselves."""
    frame, beside, _, (_, _, kind, *_) = raw.recvmsg(65536, 64)
    if kind == socket.PACKET_OUTGOING:
        return None
    for level, what, data in beside:
        if (level, what) == (SOL_PACKET, PACKET_AUXDATA):
            status, *_, control, tpid = AUXDATA.unpack(data[: AUXDATA.size])
            if status & TP_STATUS_VLAN_VALID:
                tpid = tpid if status & TP_STATUS_VLAN_TPID_VALID else 0x8100
                return frame[:12] + struct.pack("!HH", tpid, control) + frame[12:]
    return frame


def tags_of(vlans):
    kinds = [0x88A8] * (len(vlans) - 1) + [0x8100]
    return b"".join(struct.pack("!HH", kind, vlan) for kind, vlan in zip(kinds, vlans))


def untagged(frame):
    vlans, at = [], 12
    while struct.unpack_from("!H", frame, at)[0] in TPIDS:
        vlans.append(struct.unpack_from("!H", frame, at + 2)[0] & 0xFFF)
        at += 4
    return tuple(vlans), frame[:12] + frame[at:]


def main():
    trunk = opened(sys.argv[1])
    by_vlan = {}
    for argument in sys.argv[2:]:
        interface, vlans = argument.split("=")
        by_vlan[tuple(int(vlan) for vlan in vlans.split(","))] = opened(interface)
    by_socket = {raw: tags_of(vlans) for vlans, raw in by_vlan.items()}
    print("ready", flush=True)
    while True:
        for raw in select.select([trunk, *by_socket], [], [])[0]:
            frame = received(raw)
            if frame is None:
                continue
            if raw is trunk:
                vlans, frame = untagged(frame)
                to = by_vlan.get(vlans)
            else:
                to, frame = trunk, frame[:12] + by_socket[raw] + frame[12:]
            try:
                if to:
                    to.send(frame)
            except OSError as error:
                print(f"{len(frame)} bytes: {error}", flush=True)


main()
